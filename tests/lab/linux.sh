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

# Serves a disk at FILE.sock by a server whose flushes take SECONDS, until the laboratory goes down.
serve_slowly() {
    local file=$1 seconds=$2
    rm -f "$file.sock"
    # shellcheck disable=SC2016 # nbdkit's shell expands: $3 bytes from $4 on
    FILE=$file SECONDS_TAKEN=$seconds in_host a setsid nbdkit --foreground --unix "$file.sock" eval \
        get_size='stat -c %s "$FILE"' flush='sleep "$SECONDS_TAKEN"' \
        pread='dd if="$FILE" iflag=skip_bytes,count_bytes skip="$4" count="$3" status=none' \
        pwrite='dd of="$FILE" oflag=seek_bytes seek="$4" conv=notrunc status=none' \
        </dev/null >"$file.log" 2>&1 &
    disown
    wait_for 10 test -S "$file.sock" || die "no slow disk: $(cat "$file.log")"
}

# linux_guest HOST NAME WORKLOAD HOT MEMORY VCPUS CMDLINE CPUTUNE DEFINE SLOW_FLUSH
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
    disk=${disk:+$(disk_of "$name")}
    if [[ -n ${10} ]]; then
        serve_slowly "${disk:?this workload has no disk}" "${10}"
        disk+=.sock
    fi
    create_guest "$host" "$name" "$(memory_in_kib "$memory")" "$vcpus" \
        "$LINUX_CMDLINE COLD=$cold HOT=$hot $cmdline" "$8" "$9" "$image" "$disk"
}
