# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154 # LAB_DIR and others are of lab, which sources this
#
# Guests that run Linux and a program people use: what linux/build made of Debian packages. How much
# they write to is stated against the link, as for all guests; how fast is up to the program.

readonly LINUX_BASE_MIB=160 # the kernel, init, and room to work
readonly LINUX_COLD=0.5s    # memory that is filled and checked, but not written to
readonly LINUX_CMDLINE='console=ttyS0 quiet mitigations=off tsc=reliable panic=-1 random.trust_cpu=on'

disk_of() {
    echo "$LAB_DIR/disks/$1.img"
}

# linux_guest HOST NAME WORKLOAD HOT MEMORY VCPUS CMDLINE QUOTA PERIOD [define]
linux_guest() {
    local host=$1 name=$2 workload=$3 hot memory=$5 vcpus=$6 cmdline=$7 image cold times_hot disk
    image=$("$SOURCE_DIR/linux/build" "$workload")
    # shellcheck source=/dev/null
    . "$image/settings"
    load_calibration "$vcpus"
    hot=$(size_in_kib "${4:-1.5s}")
    cold=$(size_in_kib "$LINUX_COLD")
    if [[ -z $memory ]]; then
        memory=$(calc 'int((base + size + (cold + times * hot) / 1024) / 4) * 4' base=$LINUX_BASE_MIB \
            size="$(du -mL "$image/initramfs.cpio" | cut -f 1)" cold="$cold" hot="$hot" times="$times_hot")M
    fi
    mkdir -p "$LAB_DIR/disks"
    rm -f "$(disk_of "$name")"
    if [[ -e $image/disk.img ]]; then
        cp --sparse=always "$image/disk.img" "$(disk_of "$name")"
    elif [[ -n $disk ]]; then
        truncate -s "${hot}K" "$(disk_of "$name")"
    fi
    create_guest "$host" "$name" "$(memory_in_kib "$memory")" "$vcpus" \
        "$LINUX_CMDLINE COLD=$cold HOT=$hot $cmdline" "$8" "$9" "${10-}" "$image" "${disk:+$(disk_of "$name")}"
}
