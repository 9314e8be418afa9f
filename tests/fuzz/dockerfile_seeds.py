#!/usr/bin/env python3
"""Writes Dockerfiles for fuzz_dockerfile to begin with, which have every instruction and form."""
import pathlib
import sys

SEEDS = {
    "stages": """# syntax=docker/dockerfile:1
# check=skip=all
ARG V=1 W="x${V}"
FROM --platform=$BUILDPLATFORM golang:${V} AS build
WORKDIR /src
RUN --mount=type=cache,target=/root/.cache,sharing=locked,uid=1 --mount=from=tools,target=/t \\
    # a comment

    go build -o /out ./...
FROM alpine AS tools
FROM scratch
COPY --from=build --chown=1:2 --chmod=u=rwX --link --exclude=*.go /out /a
COPY --from=1 ["a b", "c"]
""",
    "heredocs": """FROM a
RUN <<EOF
#!/bin/sh
echo $x
EOF
RUN cat <<-"A" 3<<'B' > /x
\ta
\tA
b
B
COPY <<x.txt <<-y $a /d/
${a:-$b} \\$a "q"
x.txt
\tz
y
ONBUILD RUN <<T
t
T
""",
    "all": """FROM a
MAINTAINER me
ENV a=1 b="c d" e=f\\ g
ENV h i j
LABEL "k"='l'
ARG m n=$a
EXPOSE 80/tcp ${a:-81-90}
VOLUME ["/a", "/b"]
VOLUME /c /d
USER $b:${b:+x}
STOPSIGNAL ${PATH##*/}
SHELL ["bash", "-c"]
CMD ["a", "\\u00e4"]
ENTRYPOINT exec ${PATH//:/ }
HEALTHCHECK --interval=1m30s --retries=3 CMD curl
HEALTHCHECK NONE
ADD --checksum=sha256:1 --unpack=false --keep-git-dir https://x /y
RUN --network=none --security=insecure -- x
WORKDIR ${PATH%%:*}${PATH/b?n/x}
ONBUILD COPY --from=b c d
""",
    "escape": "# escape=`\nFROM a\nRUN x `\n y\nENV a=`$b\n",
}


def main():
    corpus = pathlib.Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for name, text in SEEDS.items():
        (corpus / name).write_text(text)


main()
