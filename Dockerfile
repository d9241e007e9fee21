# One image for the operator and both workers: `tailseal operator`, `tailseal sts`, `tailseal idp`.
# BASE is an argument so that an air-gapped site can name its own mirror of a Debian image with Python 3.11 or newer.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --quiet 'uv>=0.9,<1'
WORKDIR /src
# The dependencies come first, so that a change of ours does not fetch them again.
COPY requirements/runtime.txt requirements/
RUN python3 -m venv --copies /opt/tailseal \
 && /opt/build/bin/uv pip install --python /opt/tailseal/bin/python --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# Compiled modules ship with the image: a read-only root could never write them, and every start would pay for it.
RUN /opt/build/bin/uv pip install --python /opt/tailseal/bin/python --no-deps . \
 && /opt/tailseal/bin/python -m compileall -q -j 0 /opt/tailseal/lib

FROM ${BASE}
COPY --from=build /opt/tailseal /opt/tailseal
ENV PATH=/opt/tailseal/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["tailseal"]
CMD ["--help"]
