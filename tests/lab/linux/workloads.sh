# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2016,SC2034 # the guest expands, build reads
#
# The workloads of Linux guests. workload_NAME defines
#   packages   Debian packages that are unpacked, with all they depend on
#   programs   of them, what the guest gets, with the libraries these ask for
#   folders    of them, what it gets whole
#   times_hot  how much memory the workload takes for each byte of --hot
#   disk       yes: it has one, of the size of --hot, or the image disk.img that `prepare` has made
#   prepare    a function that is run, in the folder of what was unpacked, before the guest is made
#   run        the script that init starts, in busybox's shell, with HOT in KiB
# An operation is what preload.c, load.c or the script itself counts.

readonly WORKLOADS=(boot idle flush fio stressapptest redis memcached pgbench tcc rand-set write64)

# The guest does hardly anything: ten times a second it looks around.
workload_idle() {
    run='echo READY
while sleep 0.1; do echo OPS 1; done'
}

# A little is written to the disk and flushed, four times a second at most; a flush is an operation.
workload_flush() {
    disk=yes
    run='echo READY
while dd if=/dev/zero of=/dev/vda bs=4k count=4 conv=fsync 2>/dev/null; do
    echo OPS 1
    sleep 0.25
done'
}

# It boots again and again; its disk remembers how often. A boot is an operation.
workload_boot() {
    disk=yes
    run='boots=$(($(dd if=/dev/vda bs=16 count=1 2>/dev/null | tr -dc 0-9) + 1))
echo READY
echo "t=$(date +%s).000 ops=1 total=$boots bad=0 sweeps=$boots"
printf "%-15d\n" $boots | dd of=/dev/vda bs=16 conv=fsync 2>/dev/null
usleep 100000
reboot -f'
}

# As iozone does: a file is written at random, flushed every 64 blocks, then read and checked.
workload_fio() {
    packages=(fio) programs=(/usr/bin/fio) disk=yes
    run='echo READY
LD_PRELOAD=/preload.so fio --name=io --filename=/dev/vda --size=${HOT}k --bs=16k --rw=randwrite \
    --fsync=64 --verify=crc32c --verify_fatal=1 --loops=1000000 --minimal 2>&1 |
    sed "s/^/BAD /"'
}

# Copies and checks 1 MiB at a time; each is an operation.
workload_stressapptest() {
    packages=(stressapptest) programs=(/usr/bin/stressapptest)
    run='echo READY
LD_PRELOAD=/preload.so stressapptest -M $((HOT / 1024)) -m 1 -s 86400 -v 3 2>&1 |
    sed -n "/miscompare\|FAIL\|Error/s/^/BAD /p"'
}

# Values of 4 KiB, mostly written; a command is an operation.
workload_redis() {
    packages=(redis-server) programs=(/usr/bin/redis-server) times_hot=1.3
    run='redis-server --port 0 --unixsocket /tmp/redis --save "" --daemonize yes --loglevel warning
exec load redis /tmp/redis $((HOT / 4)) 4096'
}

workload_memcached() {
    packages=(memcached) programs=(/usr/bin/memcached) times_hot=1.5
    run='memcached -s /tmp/memcached -u root -d -M -t 1 -m $((HOT * 3 / 2048))
exec load memcached /tmp/memcached $HOT 1024'
}

# Memory methods of stress-ng; a pass over all of it is an operation.
memory_method() {
    packages=(stress-ng) programs=(/usr/bin/stress-ng)
    run='echo READY
LD_PRELOAD=/preload.so stress-ng --vm 1 --vm-bytes ${HOT}k --vm-keep --vm-madvise normal \
    --vm-method '$1' --verify --timeout 0 2>&1 | sed -n "/fail\|error/s/^/BAD /p"'
}

workload_rand-set() {
    memory_method rand-set
}

workload_write64() {
    memory_method write64
}

# PostgreSQL with its data on a disk, TPC-B by four clients; a statement is an operation. That the
# money is all there is asked for again and again, and the server checks the sums of its pages.
workload_pgbench() {
    packages=(postgresql-15 coreutils dash) disk=yes prepare=prepare_pgbench
    programs=(/usr/lib/postgresql/15/bin/{postgres,pgbench,psql,pg_isready})
    folders=(usr/share/postgresql/15 usr/lib/postgresql/15/lib)
    run='mkdir /pg
mount -t ext4 /dev/vda /pg
export PATH=$PATH:/usr/lib/postgresql/15/bin PGHOST=/tmp PGUSER=postgres
su -s /bin/sh nobody -c "postgres -D /pg/data -c shared_buffers=$((HOT / 1024))MB" 2>&1 |
    sed -n "/PANIC\|invalid page\|checksum/s/^/BAD /p" &
until pg_isready -q; do sleep 0.2; done
echo READY
LD_PRELOAD=/preload.so pgbench -n -c 4 -T 86400 postgres 2>&1 | sed -n "/error/s/^/BAD /p" &
while sleep 10; do
    psql -Atc "select (select sum(delta) from pgbench_history) = (select sum(bbalance)
        from pgbench_branches) and (select sum(tbalance) from pgbench_tellers) =
        (select sum(bbalance) from pgbench_branches)" postgres | sed "/^t$/d; s/^/BAD sums: /"
done'
}

prepare_pgbench() {
    local bin=/usr/lib/postgresql/15/bin
    local -a as_nobody=(chroot --userspec=65534:65534 . env PGHOST=/tmp PGUSER=postgres)
    mkdir -p -m 1777 tmp pg dev
    mkdir -m 700 pg/data && chown -R 65534:65534 pg/data
    echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >etc/passwd
    [[ -e dev/null ]] || mknod -m 666 dev/null c 1 3
    "${as_nobody[@]}" "$bin/initdb" --auth=trust --data-checksums --no-locale -E UTF8 -U postgres -D /pg/data
    printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '/tmp'" 'max_wal_size = 64MB' \
        'checkpoint_timeout = 30s' 'dynamic_shared_memory_type = mmap' >>pg/data/postgresql.conf
    sed -i "s/'UTC'/'GMT'/" pg/data/postgresql.conf
    "${as_nobody[@]}" "$bin/pg_ctl" -w -D /pg/data -l /pg/data/log start
    "${as_nobody[@]}" "$bin/pgbench" -i -s 4 postgres
    "${as_nobody[@]}" "$bin/pg_ctl" -w -D /pg/data stop
    mke2fs -q -t ext4 -d pg disk.img 512M
}

# Compiles the same file again and again; it must always come out the same.
workload_tcc() {
    packages=(tcc) programs=(/usr/bin/tcc) folders=(usr/lib/x86_64-linux-gnu/tcc)
    run='seq 1 2000 | sed "s/.*/int f&(int a, int *b) { for (int i = 0; i < a; i++) b[i] += a * b[i + &]; return *b; }/" >/tmp/a.c
compile() { tcc -c -o $1 /tmp/a.c || echo BAD tcc; }
compile /tmp/first.o
echo READY
while compile /tmp/a.o; do
    cmp -s /tmp/first.o /tmp/a.o || echo BAD object file
    echo OPS 1
done'
}
