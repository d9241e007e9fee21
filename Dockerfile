# One image for the operator and both workers: `tailseal operator`, `tailseal sts`, `tailseal idp`.
# BASE is an argument so that an air-gapped site can name its own mirror of a Debian image with Python 3.11 or newer
# (and libstdc++, as all have that have apt).
# Packages come from where the builder's pip looks: mount an /etc/pip.conf to name a mirror or a folder of wheels.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# The environment that ships has no pip in it.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/tailseal
WORKDIR /src
# The dependencies come first, so that a change of ours does not fetch them again.
COPY requirements/runtime.txt requirements/
RUN /opt/build/bin/pip --python /opt/tailseal/bin/python install --quiet --no-cache-dir --no-compile \
      --only-binary=:all: --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /opt/build/bin/pip --python /opt/tailseal/bin/python install --quiet --no-cache-dir --no-compile --no-deps .
# Of the Kubernetes client only what our adapter loads is needed, not its models of every API; of CEL no extensions.
COPY dev/image dev/image
RUN /opt/tailseal/bin/python -B dev/image/trim.py && \
    /opt/tailseal/bin/python -B dev/image/sbom.py > /opt/tailseal/sbom.cdx.json
# Compiled modules ship with the image: a read-only root could never write them, and every start would pay for it. They
# do not name their sources' times, which builders set as they like. All anew and one after another: then two builds of
# one commit on one base are the same image.
RUN PYTHONHASHSEED=0 /opt/tailseal/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/tailseal/lib

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tailseal" \
      org.opencontainers.image.description="Trust as a Kubernetes resource: a token service and an OpenID provider" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/tailseal /opt/tailseal
ENV PATH=/opt/tailseal/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["tailseal"]
CMD ["--help"]
