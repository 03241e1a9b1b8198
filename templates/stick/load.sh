#!/bin/sh
# Then loads the images into docker: `sh load.sh`, or `DOCKER=podman sh load.sh`.
{% if volumes %}
cat{% for file in files %} {{ file }}{% endfor %} | "${DOCKER:-docker}" load
{% else %}
"${DOCKER:-docker}" load -i {{ files[0] }}
{% endif %}
