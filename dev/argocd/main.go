// Argo CD's controller, repository server and Lua engine in one program, for tests: which, says the name of the link to it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	askpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/util/log"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"
)

func main() {
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
	programs := map[string]func() *cobra.Command{
		"argocd-application-controller": controller.NewCommand,
		"argocd-repo-server":            reposerver.NewCommand,
		"argocd-git-ask-pass":           askpass.NewCommand,
		"argocd-health":                 healthCommand,
	}
	program, found := programs[filepath.Base(os.Args[0])]
	if !found {
		fmt.Fprintln(os.Stderr, "call this by the name of a program of Argo CD")
		os.Exit(2)
	}
	if err := program().Execute(); err != nil {
		os.Exit(1)
	}
}

// What Argo CD says of each object (a file of YAML) with a health check of ours: one line of YAML each.
func healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "argocd-health SCRIPT OBJECT...",
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			script, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			for _, path := range args[1:] {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				object := &unstructured.Unstructured{}
				if err := yaml.Unmarshal(text, &object.Object); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				// As the controller runs what stands in argocd-cm: without the libraries of Lua.
				health, err := lua.VM{}.ExecuteHealthLua(object, string(script))
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				fmt.Printf("{status: %q, message: %q}\n", health.Status, health.Message)
			}
			return nil
		},
	}
}
