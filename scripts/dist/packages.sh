#!/usr/bin/env bash
# packages.sh OUT VERSION: a .deb and an .rpm for each Linux binary in OUT, with what assets.sh has laid out.
# By the distributions' own programs: they are small, everywhere, and take the time from SOURCE_DATE_EPOCH.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/programs.sh
out=$1 version=$2
readonly staged=target/dist-assets
readonly summary="Carries the OctoPerf load-testing images of a release into a closed site"
readonly text="Resolves the images of a release, pulls them through any proxy, packs them into one checksummed tar, and on a site
 without internet verifies, loads, pushes or serves them and renders what starts agents there."
# Debian begins each line but the first with a blank.
readonly plain_text=${text//$'\n' /$'\n'}

main() {
    need dpkg-deb dpkg
    need rpmbuild rpm
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    rm -f "$out"/*.deb "$out"/*.rpm
    package octobundle amd64 x86_64
    [ ! -e "$out/octobundle-aarch64" ] || package octobundle-aarch64 arm64 aarch64
}

# package BINARY DEBIAN_ARCHITECTURE RPM_ARCHITECTURE
package() {
    binary=$1
    deb "$2"
    rpm_package "$3"
}

# lay_out ROOT ZSH LICENCES: every file where the distribution looks for it.
lay_out() {
    local root=$1 zsh=$2 licences=$3 page
    install -D -m 0755 "$out/$binary" "$root/usr/bin/octobundle"
    for page in "$staged"/man/*; do install -D -m 0644 "$page" "$root/usr/share/man/man1/${page##*/}"; done
    install -D -m 0644 "$staged/completions/octobundle.bash" "$root/usr/share/bash-completion/completions/octobundle"
    install -D -m 0644 "$staged/completions/octobundle.zsh" "$root/usr/share/zsh/$zsh/_octobundle"
    install -D -m 0644 "$staged/completions/octobundle.fish" "$root/usr/share/fish/vendor_completions.d/octobundle.fish"
    install -D -m 0644 "$staged/LICENSE" "$root/$licences/copyright"
    install -D -m 0644 "$staged/THIRD-PARTY-LICENCES.txt" "$root/$licences/THIRD-PARTY-LICENCES.txt"
    for page in "$staged"/doc/*.md; do install -D -m 0644 "$page" "$root/usr/share/doc/octobundle/${page##*/}"; done
    for page in "$staged"/doc/docs/*; do install -D -m 0644 "$page" "$root/usr/share/doc/octobundle/docs/${page##*/}"; done
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

deb() {
    local architecture=$1 root=$made/deb-$1
    lay_out "$root" vendor-completions usr/share/doc/octobundle
    mkdir "$root/DEBIAN"
    cat >"$root/DEBIAN/control" <<END
Package: octobundle
Version: $version-1
Architecture: $architecture
Maintainer: octobundle <none@invalid>
Section: admin
Priority: optional
Installed-Size: $(find "$root/usr" -type f -exec cat {} + | wc -c | awk '{ print int($1 / 1024) }')
Description: $summary
 $text
END
    (cd "$root" && find usr -type f | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
    # gzip, since the dpkg of old systems reads nothing newer than xz, and this is as small.
    dpkg-deb --root-owner-group -Zgzip -z9 --build "$root" "$out/octobundle_${version}_$architecture.deb"
}

rpm_package() {
    local architecture=$1 root=$made/rpm-$1
    lay_out "$root" site-functions usr/share/licenses/octobundle
    cat >"$made/octobundle.spec" <<END
Name: octobundle
Version: $version
Release: 1
Summary: $summary
License: Apache-2.0
AutoReqProv: no
%description
$plain_text
%install
cp -a $root/. %{buildroot}
%files
$(cd "$root" && find usr -type f -printf '/%p\n' | LC_ALL=C sort)
END
    # The files are taken as they are: nothing is stripped or compressed again, and no host's name is put in.
    rpmbuild -bb --quiet --target "$architecture-linux" --buildroot "$made/rpm-root" \
        --define "_topdir $made/top" --define "_rpmdir $made" --define "_rpmfilename octobundle.rpm" \
        --define "__os_install_post %{nil}" --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
        --define "clamp_mtime_to_source_date_epoch 1" --define "_binary_payload w9.gzdio" --define "_build_id_links none" \
        --define "debug_package %{nil}" "$made/octobundle.spec"
    mv "$made/octobundle.rpm" "$out/octobundle-$version.$architecture.rpm"
}

main
