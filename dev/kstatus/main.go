// kstatus says of each object of a JSON list what Flux and others that use this library make of it.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	var objects []*unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		log.Fatal(err)
	}
	said := make([]string, 0, len(objects))
	for _, object := range objects {
		result, err := status.Compute(object)
		if err != nil {
			log.Fatal(err)
		}
		said = append(said, result.Status.String())
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}
