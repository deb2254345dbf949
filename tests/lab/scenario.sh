# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2154 # LAB_DIR and others are of lab, which sources this
#
# What a scenario means on this machine. A guest is stated against the link: how many times what the
# link carries it dirties, how long the link takes for its hot set and for all of its memory. From
# that, and from how fast guest and link are here, follow the guest's options.
#
# Theory of operation. A touch of a page takes BARE + cpu * ROUND nanoseconds. Both are taken from a
# guest that changes four times a second between cpu=0 and cpu=WORK: once at rest, by which a guest
# that has just started is recognised as fast or slow, and once in a migration, whose threads take
# their part of caches and processors; scenarios are about the latter. The link keeps the rate asked
# for as long as this machine's QEMU can fill it, and as long as a guest without any work per page
# writes five times what the link carries (so that scenarios of up to four times have room); else it
# is made slower. Sizes follow the link, so a scenario takes the same time everywhere.

readonly CALIBRATION_WORK=4000
readonly CALIBRATION_PERIODS=12 # of 250 ms, for either half
readonly FASTEST_OVER_LINK=5
readonly LINK_MIN_MIB=20    # less is no machine for this

# In percent: a guest whose speed differs by more is not what was calibrated. What was calibrated a
# moment ago need not be met as closely: on a machine that is used by others as well it moves all the
# time, and scenarios bear it.
readonly SPEED_TOLERANCES=(20 40 40 40 40)

# Makes each guest so many times slower, as a slower machine would.
readonly LAB_SLOW=${LAB_SLOW:-1}

calibration_file() {
    echo "$LAB_DIR/calibration-$1"
}

# calc EXPRESSION [NAME=VALUE...]: a number.
calc() {
    local expression=$1 each
    local -a variables=()
    shift
    for each in "$@"; do
        variables+=(-v "$each")
    done
    awk "${variables[@]}" "BEGIN { printf \"%.12g\", $expression }"
}

# true_that EXPRESSION [NAME=VALUE...]
true_that() {
    [[ $(calc "($1) ? 1 : 0" "${@:2}") == 1 ]]
}

# Prints "BARE ROUND", in nanoseconds, from a calibrating guest's report lines: the median of the
# periods without work, and of those with it.
touch_costs() {
    awk -v work=$CALIBRATION_WORK '
        function median(values, n,    i, j, x) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && values[j - 1] > values[j]; j--) {
                    x = values[j]; values[j] = values[j - 1]; values[j - 1] = x
                }
            return values[int((n + 1) / 2)]
        }
        match($0, /^t=[0-9.]+ pages=[0-9]+ /) {
            split($1, t, "="); split($2, pages, "=")
            # A line that does not cover its period alone is of a guest that stood still.
            if (t[2] - last > 0.249 && t[2] - last < 0.3 && pages[2] > 0) {
                cost = (t[2] - last) * 1e9 / pages[2]
                if (int(t[2] * 4 - 0.5) % 2) with[++n] = cost; else without[++m] = cost
            }
            last = t[2]
        }
        END {
            if (n < 3 || m < 3)
                exit 1
            bare = median(without, m)
            round = (median(with, n) - bare) / work
            if (round <= 0)
                exit 1
            printf "%.0f %.4f\n", bare, round
        }'
}

count_reports() {
    grep -c '^t=' "$1" || true
}

has_reports() {
    (($(count_reports "$1") >= $2))
}

# A figure of a running migration.
job_figure() {
    quietly_virsh a domjobinfo "$1" --rawstats | sed -n "s/^ *$2: *//p"
}

sends_memory() {
    local bytes
    bytes=$(job_figure "$1" memory_processed)
    [[ ${bytes:-0} -gt 0 ]]
}

no_calibration_guest() {
    local host
    for host in "${HOSTS[@]}"; do
        quietly_virsh "$host" destroy calibration >/dev/null 2>&1 || true
    done
}

# Of a calibration that fails nothing is left, neither for the next one nor to keep a CPU busy.
no_calibration() {
    no_calibration_guest
    die "calibration: $*"
}

# Takes the costs of a touch, and what the link carries, with a guest of its own. Leaves them in
# rest_costs, moving_costs and carried_bps.
measure() {
    local vcpus=$1 name=calibration log before bytes ms
    no_calibration_guest # of a run that was killed
    create_guest a $name 262144 "$vcpus" "hot=64M pattern=calibrate cpu=$CALIBRATION_WORK" ''
    log=$(serial_log a $name)
    wait_for 120 has_reports "$log" $((CALIBRATION_PERIODS + 1)) ||
        no_calibration "the guest says nothing: this machine is too slow, or too busy"
    rest_costs=$(touch_costs <"$log") || no_calibration "unusable at rest: $(tail -n 5 "$log")"

    quietly_virsh a migrate-setmaxdowntime $name 1
    virsh -q -c "$(uri a)" migrate --live --p2p $name "$(uri b)" </dev/null >/dev/null 2>&1 &
    wait_for 60 sends_memory $name || no_calibration "the migration does not begin"
    # What it sends first only fills buffers.
    before=$(($(count_reports "$log") + 3))
    wait_for 120 has_reports "$log" "$before" || true
    bytes=$(job_figure $name memory_processed) ms=$(job_figure $name time_elapsed)
    wait_for 120 has_reports "$log" $((before + CALIBRATION_PERIODS)) ||
        no_calibration "the guest says nothing: this machine is too slow, or too busy"
    bytes=$(($(job_figure $name memory_processed) - bytes))
    ms=$(($(job_figure $name time_elapsed) - ms))
    carried_bps=$((bytes * 1000 / ms))
    moving_costs=$(grep '^t=' "$log" | tail -n "+$before" | touch_costs) ||
        no_calibration "unusable while migrating: $(tail -n 5 "$log")"
    no_calibration_guest
    wait
}

# bytes/s as the token bucket counts them, in bits.
rate_in_bits() {
    calc "int(bps * 8 / 0.95 / 1e6) * 1e6" "bps=$1"
}

# calibrate VCPUS: of a link that this machine cannot fill, or cannot outrun, a slower one is made.
calibrate() {
    local vcpus=$1 rest_costs moving_costs carried_bps limit bare
    for _ in 1 2 3; do
        measure "$vcpus"
        read -r bare _ <<<"$moving_costs"
        limit=$(calc '4096e9 / bare / n' bare="$bare" n=$FASTEST_OVER_LINK)
        if true_that 'carried < 0.8 * link' carried="$carried_bps" link="$(link_bps)"; then
            limit=$(calc 'limit < 0.6 * carried ? limit : 0.6 * carried' limit="$limit" \
                carried="$carried_bps")
        fi
        true_that 'limit < 0.95 * carried' limit="$limit" carried="$carried_bps" || break
        true_that 'limit >= min * 1048576' limit="$limit" min=$LINK_MIN_MIB ||
            die "calibration: this machine is too slow, or too busy, for migrations that mean \
anything: $(describe "$rest_costs" "$moving_costs" "$carried_bps")"
        link_rate "$(rate_in_bits "$limit")"
    done
    cat >"$(calibration_file "$vcpus")" <<END
rest_costs='$rest_costs'
moving_costs='$moving_costs'
carried_bps='$carried_bps'
END
}

# Bytes of guest memory per second that the link is made for.
link_bps() {
    local rate
    rate=$(cat "$LAB_DIR/rate")
    case $rate in
    *gbit) calc 'n * 1e9 * 0.95 / 8' n="${rate%gbit}" ;;
    *mbit) calc 'n * 1e6 * 0.95 / 8' n="${rate%mbit}" ;;
    *kbit) calc 'n * 1e3 * 0.95 / 8' n="${rate%kbit}" ;;
    *) calc 'n * 0.95 / 8' n="$rate" ;;
    esac
}

# Defines rest_costs, moving_costs and carried_bps, of which the caller makes local variables.
load_calibration() {
    local file
    file=$(calibration_file "$1")
    [[ -e $file ]] || calibrate "$1"
    # shellcheck source=/dev/null
    . "$file"
}

describe() {
    local bare round
    read -r bare round <<<"$2"
    printf 'the link carries %.0f MiB/s; migrating, a guest writes up to %.0f MiB/s, and as much' \
        "$(calc 'bps / 1048576' bps="$3")" "$(calc '4096e9 / bare / 1048576' bare="$bare")"
    printf ' as the link with cpu=%.0f (%.0f at rest)\n' \
        "$(cpu_for "$2" "$3" 1)" "$(cpu_for "$1" "$3" 1)"
}

# cpu_for COSTS CARRIED_BPS TIMES: the work per page with which a guest writes TIMES what is carried.
cpu_for() {
    local bare round
    read -r bare round <<<"$1"
    calc 'int((4096e9 / bps / times - bare) / round)' bare="$bare" round="$round" bps="$2" times="$3"
}

# A size, or what the link carries in a time ("1.5s"), in KiB.
size_in_kib() {
    case $1 in
    *s) calc 'int(bps * s / 4096) * 4' bps="$carried_bps" s="${1%s}" ;;
    *) to_kib "$1" ;;
    esac
}

# The whole memory whose filled pages the link carries in a time; what a machine has besides is 1 MiB.
memory_in_kib() {
    case $1 in
    *s) calc 'int(bps * s / 1048576 + 1) * 1024' bps="$carried_bps" s="${1%s}" ;;
    *) to_kib "$1" ;;
    esac
}

# scenario_cmdline HOW TIMES: the options of a guest that dirties TIMES what the link carries. One
# that is limited by its CPU gets work for each page; one with a pace of its own only so much that it
# would manage twice the rate, and one that sleeps none, so that it hardly needs its CPU.
scenario_cmdline() {
    local how=$1 times=$2 cpu pattern rate
    case $how in
    dirties) cpu=$(cpu_for "$moving_costs" "$carried_bps" "$times") ;;
    paced) pattern=pace cpu=$(cpu_for "$moving_costs" "$carried_bps" "$(calc '2 * t' t="$times")") ;;
    sleeping) pattern=sleep cpu='0 sweep=0' ;;
    esac
    if [[ $how == dirties ]]; then
        ((cpu >= 0)) || die "this machine is too slow for a guest that dirties $times times what \
the link carries: $(describe "$rest_costs" "$moving_costs" "$carried_bps")"
        echo "cpu=$cpu"
    else
        rate=$(calc 'int(bps * t / 4096)' bps="$carried_bps" t="$times")
        [[ $cpu != -* ]] || cpu=0
        echo "cpu=$cpu pattern=$pattern rate=$rate"
    fi
}

# speed_expected HOW TIMES CMDLINE: the touches per second of such a guest that does not migrate.
speed_expected() {
    local how=$1 times=$2 cpu bare round
    if [[ $how != dirties ]]; then
        calc 'bps * t / 4096' bps="$carried_bps" t="$times"
        return
    fi
    cpu=${3#*cpu=}
    read -r bare round <<<"$rest_costs"
    calc '1e9 / (bare + cpu * round)' bare="$bare" round="$round" cpu="${cpu%% *}"
}

# is_near SPEED EXPECTED PERCENT
is_near() {
    true_that 'x > 0 && (x / y - 1) * 100 < t && (y / x - 1) * 100 < t' x="${1:-0}" y="$2" t="$3"
}

# speed_of LOG: touches per second since the last look, as the guest tells them: before its first
# report what it measured when it started, later what its last two reports say.
speed_of() {
    awk '
        match($0, / speed=[0-9]+$/) { speed = substr($0, RSTART + 7) }
        /^t=/ {
            split($1, t, "="); split($2, pages, "=")
            if (n++ > 1) speed = pages[2] / (t[2] - last)
            last = t[2]
        }
        END { print speed }' "$1"
}
