#!/bin/sh
{% if loads %}
# Then loads the images into docker: `sh load.sh`, or `DOCKER=podman sh load.sh`.
{% if volumes %}
cat{% for file in files %} {{ file }}{% endfor %} | "${DOCKER:-docker}" load
{% else %}
"${DOCKER:-docker}" load -i {{ files[0] }}
{% endif %}
{% endif %}
{% if cut %}
# An engine alone cannot put a delta and what it builds on together.
{
    printf 'This bundle is a delta on %s. NOT loaded, since layers of them are in that bundle only:\n' {{ base }}
{% for image in cut %}
    printf '  %s\n' {{ image }}
{% endfor %}
    printf 'Load them with octobundle, and that bundle as OLD: octobundle load %s --base OLD\n' {{ files[0] }}
} >&2
exit 1
{% endif %}
