#!/bin/bash
# The first process of a node: init.sh DIRECTORY NODE ADDRESS, in new mount, network, pid and uts namespaces.
# It gives the node fixed paths, a network and a mount tree of its own, then reaps orphans; when it ends, all ends.
set -eu
directory=$1 node=$2 address=$3
hostname "$node"

# A /sys of this network namespace, with the machine's cgroups in it.
mkdir -p "$directory/cgroup"
mount --rbind /sys/fs/cgroup "$directory/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroup" /sys/fs/cgroup
umount -l "$directory/cgroup"

# What containerd, the kubelet and CNI keep at fixed paths stays in the node's own directory.
mkdir -p "$directory/lib"
mount --bind "$directory/lib" /var/lib
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/netns
mount --make-rshared /

# A node's address on a bridge of its own, which needs one member to be up. Service addresses need some route until
# kube-proxy turns them round; everything else leads nowhere, at once.
ip link set lo up
ip link add node0 type bridge
ip link add port0 type veth peer name port1
ip link set port1 master node0
ip address add "$address/24" dev node0
for link in port0 port1 node0; do ip link set "$link" up; done
ip route add 10.96.0.0/16 dev node0
ip route add unreachable default
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

touch "$directory/up"
sleep infinity &
wait
