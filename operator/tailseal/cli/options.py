"""Options that several commands share."""

from __future__ import annotations

from typing import Any, Final

import click

from tailseal.workers.common.http.address import Address, AddressError, UnixAddress

SOCKET: Final = "/run/tailseal/explain.sock"
"""Where a worker answers those who may run a command beside it; the folder is there in a pod."""

_LONGEST_SOCKET: Final = 107

LEVELS: Final = ("debug", "info", "warning", "error")


class AddressType(click.ParamType[Address]):
    """`HOST:PORT`."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:  # noqa: ANN401
        """Parse the text of the command line or the environment."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except AddressError as error:
            self.fail(str(error), param, ctx)


class PlaceType(AddressType):
    """`HOST:PORT`, or `unix:PATH`."""

    name = "host:port|unix:path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Parse the text of the command line or the environment."""
        if isinstance(value, str) and value.startswith("unix:"):
            path = value.removeprefix("unix:")
            if not path.startswith("/") or len(path.encode()) > _LONGEST_SOCKET:
                self.fail(f"{value!r}: unix: and an absolute path of at most {_LONGEST_SOCKET} bytes", param, ctx)
            return UnixAddress(path)
        return super().convert(value, param, ctx)


class TailnetType(PlaceType):
    """`unix:PATH`, or `HOST:PORT` on loopback: anywhere else, others than tailscaled could come."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Parse the text of the command line or the environment."""
        place = super().convert(value, param, ctx)
        if isinstance(place, Address) and not place.is_loopback:
            self.fail(f"{place}: must be on loopback, where tailscaled hands connections on, or unix:PATH", param, ctx)
        return place


class SidecarType(click.ParamType[tuple[str, str]]):
    """`NAME=IMAGE-PREFIX`."""

    name = "name=image-prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:  # noqa: ANN401
        """Parse the text of the command line."""
        name, _, image = value.partition("=")
        if not (name and "/" in image):
            self.fail(
                f"{value!r}: a container's name, = and what its image begins with, at least REGISTRY/", param, ctx
            )
        return name, image


class Level(click.Choice[str]):
    """A log level in any case; custom resources write them capitalised."""

    def __init__(self) -> None:
        super().__init__(LEVELS, case_sensitive=False)


log_level = click.option(
    "--log-level", type=Level(), default="info", envvar="TAILSEAL_LOG_LEVEL", show_default=True, show_envvar=True
)

kubeconfig = click.option(
    "--kubeconfig", default="", metavar="FILE", help="Default: in-cluster credentials, else ~/.kube/config."
)
context = click.option("--context", default="", help="Context of the kubeconfig; default: its current one.")
