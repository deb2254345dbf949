/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest without an operating system, for migration tests: it dirties memory in a chosen pattern,
 * proves that its memory is intact, and says each second on COM1 how much it got done.
 *
 * Theory of operation. Memory above the image is divided evenly among the processors; each fills
 * its share at boot, and the first part of each share is its hot set. Every word of page p follows
 * from p by a linear congruential sequence, except for every 64th word, a stamp, which follows from
 * p and the page's generation. To touch a page is to check its stamps, raise its generation and
 * stamp it anew. Generations are kept in an array outside of the pages, so a page that arrives in
 * an older state than the array, or the other way round, is noticed.
 *
 * Beside touching its hot set, each processor sweeps its share: every word of every page, hot or
 * cold, is compared with what it must be. A page found corrupt is reported once, then made good.
 *
 * Time is the TSC, calibrated at boot against the timer of the APIC. It stops while the guest is
 * stopped, and runs on while a vCPU waits for its turn, so a throttled guest does fewer pages per
 * second of t.
 * No interrupt is needed to read it; interrupts (the local APIC's timer) only serve to sleep.
 */

#include "guest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE   4096u
#define WORDS       (PAGE_SIZE / 4)
#define STAMP_EVERY 64u
#define CMDLINE_MAX 256

#define CPU_WORK_DEFAULT 3850
#define SWEEP_DEFAULT    1

#define SPEED_MS  300 /* how long its own speed is taken before it is ready */
#define REPORT_MS 1000
#define CALIBRATE_MS                                                                               \
    250 /* how long it works in either way under CALIBRATE, and between reports                    \
         */

#define TIMER_VECTOR 0x40
#define TIMER_COUNT  62500 /* 1 ms of QEMU's 1 GHz APIC clock, divided by 16 */

enum pattern { SEQ, RANDOM, PHASE, SLEEP, PACE, CALIBRATE, PATTERNS };

static const char *const pattern_names[PATTERNS] = {"seq",   "random", "phase",
                                                    "sleep", "pace",   "calibrate"};

struct multiboot_info {
    uint32_t flags;
    uint32_t mem_lower_kib;
    uint32_t mem_upper_kib; /* contiguous, from 1 MiB on */
    uint32_t boot_device;
    uint32_t cmdline;
};

struct options {
    uint32_t hot_pages;
    uint32_t fill_pages;
    enum pattern pattern;
    uint32_t cpu_work; /* rounds of arithmetic per touch */
    uint32_t sweep;    /* pages swept per touch */
    uint32_t rate;     /* touches per second of the whole guest, for SLEEP and PACE */
    uint32_t phase_s;  /* length of a busy or a quiet phase */
    uint32_t slow;     /* how often all work is done: as if on a machine so many times slower */
};

struct cpu {
    uint32_t first_page, pages, hot_pages;
    uint32_t next_hot, next_sweep;
    uint32_t random;
    uint32_t sink;    /* keeps the compiler from dropping the arithmetic */
    uint64_t last_ms; /* when touches were last counted as owed, and what was less than one */
    uint32_t rest;
    volatile uint32_t touched, bad, sweeps;
} __attribute__((aligned(64)));

extern uint8_t image_end[], ap_start[], ap_end[];
void timer_interrupt(void);
void guest_main(const struct multiboot_info *info) __attribute__((noreturn));
void ap_main(uint32_t number) __attribute__((noreturn));

uint8_t stacks[CPUS_MAX * STACK_SIZE] __attribute__((aligned(16)));
volatile uint32_t cpus_started = 1;

static struct options options = {
    .hot_pages = 0,
    .cpu_work = CPU_WORK_DEFAULT,
    .sweep = SWEEP_DEFAULT,
    .rate = 10000,
    .phase_s = 5,
    .slow = 1,
};
static struct cpu cpus[CPUS_MAX];
static uint32_t cpu_count = 1;
static uint32_t tsc_per_ms;
static uint64_t tsc_at_boot;
static uint32_t *generations;
static uint8_t *pages;
static volatile uint32_t cpus_ready, serial_lock;
static volatile bool go;
static uint64_t idt[TIMER_VECTOR + 1];

/* --- machine ---------------------------------------------------------------------------------- */

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdtsc(void)
{
    uint64_t value;
    __asm__ volatile("rdtsc" : "=A"(value));
    return value;
}

static inline void relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline void apic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(APIC_BASE + reg) = value;
}

/* There is no 64-bit division without libgcc. */
static uint64_t divide(uint64_t n, uint32_t d, uint32_t *ret_rest)
{
    uint32_t high = (uint32_t)(n >> 32), low;
    uint32_t quotient_high = high / d, rest = high % d;

    __asm__("divl %4" : "=a"(low), "=d"(rest) : "0"((uint32_t)n), "1"(rest), "rm"(d));
    if (ret_rest)
        *ret_rest = rest;
    return (uint64_t)quotient_high << 32 | low;
}

static uint64_t now_ms(void)
{
    return divide(rdtsc() - tsc_at_boot, tsc_per_ms, NULL);
}

/* A reading of the APIC's timer, which counts down at a known rate, and of the TSC at that moment.
 */
struct moment {
    uint32_t timer;
    uint64_t tsc, width; /* read at tsc, or at most `width` before */
};

/* The one of many readings in which this processor was held up least. */
static struct moment best_moment(void)
{
    struct moment best = {.width = UINT64_MAX};

    for (int i = 0; i < 200; i++) {
        uint64_t before = rdtsc();
        uint32_t timer = *(volatile uint32_t *)(APIC_BASE + 0x390);
        uint64_t after = rdtsc();
        if (after - before < best.width)
            best = (struct moment){timer, after, after - before};
    }
    return best;
}

static void calibrate_tsc(void)
{
    struct moment begin, end;

    apic_write(0xf0, 0x1ff);
    apic_write(0x3e0, 3);       /* divide by 16 */
    apic_write(0x320, 1 << 16); /* once, and silently */
    apic_write(0x380, 0xffffffff);
    begin = best_moment();
    do
        end = best_moment();
    while (begin.timer - end.timer < 50 * TIMER_COUNT);
    tsc_per_ms =
        (uint32_t)divide((end.tsc - begin.tsc) * TIMER_COUNT, begin.timer - end.timer, NULL);
    tsc_at_boot = begin.tsc;
}

/* QEMU's firmware configuration device knows the number of processors (key 5). */
static uint32_t count_cpus(void)
{
    uint32_t n;

    outw(0x510, 5);
    n = inb(0x511);
    n |= (uint32_t)inb(0x511) << 8;
    return n < 1 ? 1 : n > CPUS_MAX ? CPUS_MAX : n;
}

static void mask_legacy_interrupts(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

/* Lets this processor sleep: its own timer interrupts it each millisecond, which HLT waits for. */
static void start_timer(void)
{
    const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint32_t)idt};
    uint32_t handler = (uint32_t)timer_interrupt;

    idt[TIMER_VECTOR] =
        (uint64_t)(handler & 0xffff0000) << 32 | 0x8e00ull << 32 | 8u << 16 | (handler & 0xffff);
    __asm__ volatile("lidt %0" : : "m"(pointer));
    apic_write(0xf0, 0x1ff);                   /* enable; spurious vector 255 */
    apic_write(0x3e0, 3);                      /* divide by 16 */
    apic_write(0x320, 1 << 17 | TIMER_VECTOR); /* periodic */
    apic_write(0x380, TIMER_COUNT);
}

static void sleep_one_tick(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void wait_ms(uint32_t ms)
{
    uint64_t until = now_ms() + ms;

    while (now_ms() < until)
        relax();
}

/* --- serial port ------------------------------------------------------------------------------ */

static void put_char(char c)
{
    while (!(inb(0x3fd) & 0x20))
        relax();
    outb(0x3f8, (uint8_t)c);
}

static void put(const char *s)
{
    while (*s)
        put_char(*s++);
}

static void put_number(uint64_t n, int width)
{
    char digits[20];
    int i = 0;
    uint32_t digit;

    do {
        n = divide(n, 10, &digit);
        digits[i++] = (char)('0' + digit);
    } while (n || i < width);
    while (i)
        put_char(digits[--i]);
}

static void put_field(const char *name, uint64_t n)
{
    put(name);
    put_number(n, 1);
}

static void lock_serial(void)
{
    while (__atomic_exchange_n(&serial_lock, 1, __ATOMIC_ACQUIRE))
        relax();
}

static void unlock_serial(void)
{
    __atomic_store_n(&serial_lock, 0, __ATOMIC_RELEASE);
}

/* --- pages ------------------------------------------------------------------------------------ */

static inline uint32_t *page_words(uint32_t page)
{
    return (uint32_t *)(pages + (size_t)page * PAGE_SIZE);
}

static inline uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352d;
    x ^= x >> 15;
    x *= 0x846ca68b;
    return x ^ x >> 16;
}

static inline uint32_t next(uint32_t x)
{
    return x * 1664525 + 1013904223;
}

static inline uint32_t first_stamp(uint32_t page, uint32_t generation)
{
    return mix(page ^ generation * 0x9e3779b9);
}

static void write_page(uint32_t page)
{
    uint32_t *words = page_words(page), x = mix(page + 1),
             stamp = first_stamp(page, generations[page]);

    for (uint32_t i = 0; i < WORDS; i += STAMP_EVERY, stamp = next(stamp)) {
        words[i] = stamp;
        for (uint32_t j = 1; j < STAMP_EVERY; j++)
            words[i + j] = x = next(x);
    }
}

static void report_corrupt(struct cpu *cpu, uint32_t page)
{
    cpu->bad++;
    lock_serial();
    put_field("CORRUPT page=", page);
    put_field(" generation=", generations[page]);
    put("\n");
    unlock_serial();
    write_page(page);
}

/* Not 0 where any word of the page is not what it must be. */
static uint32_t compare_page(uint32_t page)
{
    const volatile uint32_t *words = page_words(page);
    uint32_t x = mix(page + 1), stamp = first_stamp(page, generations[page]), differs = 0;

    for (uint32_t i = 0; i < WORDS; i += STAMP_EVERY, stamp = next(stamp)) {
        differs |= words[i] ^ stamp;
        for (uint32_t j = 1; j < STAMP_EVERY; j++) {
            x = next(x);
            differs |= words[i + j] ^ x;
        }
    }
    return differs;
}

/* The same for the stamps alone. */
static uint32_t compare_stamps(uint32_t page)
{
    const volatile uint32_t *words = page_words(page);
    uint32_t stamp = first_stamp(page, generations[page]), differs = 0;

    for (uint32_t i = 0; i < WORDS; i += STAMP_EVERY, stamp = next(stamp))
        differs |= words[i] ^ stamp;
    return differs;
}

static void sweep_page(struct cpu *cpu)
{
    uint32_t page = cpu->first_page + cpu->next_sweep, differs = 0;

    for (uint32_t n = 0; n < options.slow; n++)
        differs |= compare_page(page);
    if (differs)
        report_corrupt(cpu, page);
    if (++cpu->next_sweep == cpu->pages) {
        cpu->next_sweep = 0;
        cpu->sweeps++;
    }
}

static void touch_page(struct cpu *cpu, uint32_t page)
{
    volatile uint32_t *words = page_words(page);
    uint32_t differs = 0, stamp;

    for (uint32_t n = 0; n < options.slow; n++)
        differs |= compare_stamps(page);
    if (differs)
        report_corrupt(cpu, page);

    generations[page]++;
    for (uint32_t n = 0; n < options.slow; n++) {
        stamp = first_stamp(page, generations[page]);
        for (uint32_t i = 0; i < WORDS; i += STAMP_EVERY, stamp = next(stamp))
            words[i] = stamp;
    }
    cpu->touched++;
}

/* --- work ------------------------------------------------------------------------------------- */

static void work_once(struct cpu *cpu, uint32_t cpu_work)
{
    uint32_t index = cpu->next_hot, x = cpu->sink;

    if (options.pattern == RANDOM) {
        cpu->random ^= cpu->random << 13;
        cpu->random ^= cpu->random >> 17;
        cpu->random ^= cpu->random << 5;
        index = (uint32_t)((uint64_t)cpu->random * cpu->hot_pages >> 32);
    } else if (++cpu->next_hot >= cpu->hot_pages) {
        cpu->next_hot = 0;
    }
    touch_page(cpu, cpu->first_page + index);
    for (uint32_t i = 0; i < cpu_work * options.slow; i++)
        x = mix(x + i);
    cpu->sink = x;
    for (uint32_t i = 0; i < options.sweep; i++)
        sweep_page(cpu);
}

/*
 * Touches owed under the rate ceiling. What could not be done in a tenth of a second is forgotten,
 * so that a guest held up for long does not come back in a burst.
 */
static uint32_t owed_touches(struct cpu *cpu, uint64_t now)
{
    uint64_t elapsed = now - cpu->last_ms;

    cpu->last_ms = now;
    if (elapsed > 100)
        elapsed = 100;
    return (uint32_t)divide(elapsed * options.rate + cpu->rest, 1000 * cpu_count, &cpu->rest);
}

/* Sleeping must cost next to nothing: of the sweep only a little is done in each tick. */
static void idle(struct cpu *cpu)
{
    for (int i = 0; i < 4 && options.sweep; i++)
        sweep_page(cpu);
    sleep_one_tick();
}

static void work(struct cpu *cpu, uint64_t now)
{
    uint32_t owed;

    switch (options.pattern) {
    case PHASE:
        if ((uint32_t)divide(now, options.phase_s * 1000, NULL) & 1)
            idle(cpu);
        else
            work_once(cpu, options.cpu_work);
        break;
    case CALIBRATE:
        work_once(cpu, (uint32_t)divide(now, CALIBRATE_MS, NULL) & 1 ? options.cpu_work : 0);
        break;
    case SLEEP:
    case PACE:
        owed = owed_touches(cpu, now);
        for (uint32_t i = 0; i < owed; i++)
            work_once(cpu, options.cpu_work);
        if (!owed && options.pattern == SLEEP)
            idle(cpu);
        break;
    default:
        work_once(cpu, options.cpu_work);
    }
}

/* One line each second of t (under CALIBRATE, each time it changes), from the first processor. */
static void report(uint64_t now)
{
    static uint64_t next_ms, total;
    static uint32_t seen[CPUS_MAX];
    uint32_t touched = 0, bad = 0, sweeps = UINT32_MAX;
    uint32_t milliseconds, period = options.pattern == CALIBRATE ? CALIBRATE_MS : REPORT_MS;
    uint64_t seconds;

    if (now < next_ms)
        return;
    next_ms = (divide(now, period, NULL) + 1) * period;
    for (uint32_t i = 0; i < cpu_count; i++) {
        uint32_t n = cpus[i].touched;
        touched += n - seen[i];
        seen[i] = n;
        bad += cpus[i].bad;
        if (cpus[i].sweeps < sweeps)
            sweeps = cpus[i].sweeps;
    }
    total += touched;
    seconds = divide(now, 1000, &milliseconds);

    lock_serial();
    put_field("t=", seconds);
    put(".");
    put_number(milliseconds, 3);
    put_field(" pages=", touched);
    put_field(" total=", total);
    put_field(" bad=", bad);
    put_field(" sweeps=", sweeps);
    put("\n");
    unlock_serial();
}

static void fill(struct cpu *cpu)
{
    for (uint32_t i = 0; i < cpu->pages; i++)
        write_page(cpu->first_page + i);
    __atomic_fetch_add(&cpus_ready, 1, __ATOMIC_RELEASE);
}

void ap_main(uint32_t number)
{
    struct cpu *cpu = &cpus[number];

    start_timer();
    fill(cpu);
    while (!go)
        relax();
    for (;;)
        work(cpu, now_ms());
}

/* --- start ------------------------------------------------------------------------------------ */

static bool skip(const char **s, const char *prefix)
{
    const char *p = *s;

    while (*prefix)
        if (*p++ != *prefix++)
            return false;
    *s = p;
    return true;
}

/* A number with an optional K, M or G (powers of 1024). */
static uint64_t parse_number(const char **s)
{
    uint64_t n = 0;

    while (**s >= '0' && **s <= '9')
        n = n * 10 + (uint64_t)(*(*s)++ - '0');
    if (skip(s, "K"))
        return n << 10;
    if (skip(s, "M"))
        return n << 20;
    if (skip(s, "G"))
        return n << 30;
    return n;
}

/* Touches per second; with an M, megabytes (10^6) per second. */
static uint32_t parse_rate(const char **s)
{
    uint64_t n = parse_number(s);

    return (uint32_t)((*s)[-1] == 'M' ? divide((n >> 20) * 1000000, PAGE_SIZE, NULL) : n);
}

static void die(const char *why, const char *what)
{
    put("error: ");
    put(why);
    put(what);
    put("\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* The loader puts the kernel's name before the options, so the first word is passed over. */
static void parse_cmdline(const char *s)
{
    while (*s && *s != ' ')
        s++;
    while (*s) {
        const char *word = s;

        if (skip(&s, "hot="))
            options.hot_pages = (uint32_t)(parse_number(&s) / PAGE_SIZE);
        else if (skip(&s, "fill="))
            options.fill_pages = (uint32_t)(parse_number(&s) / PAGE_SIZE);
        else if (skip(&s, "cpu="))
            options.cpu_work = (uint32_t)parse_number(&s);
        else if (skip(&s, "sweep="))
            options.sweep = (uint32_t)parse_number(&s);
        else if (skip(&s, "rate="))
            options.rate = parse_rate(&s);
        else if (skip(&s, "phase="))
            options.phase_s = (uint32_t)parse_number(&s);
        else if (skip(&s, "slow="))
            options.slow = (uint32_t)parse_number(&s);
        else if (skip(&s, "pattern=")) {
            for (options.pattern = SEQ; options.pattern < PATTERNS; options.pattern++)
                if (skip(&s, pattern_names[options.pattern]))
                    break;
        }
        if ((*s && *s != ' ') || options.pattern == PATTERNS)
            die("what is ", word);
        while (*s == ' ')
            s++;
    }
}

static void share_memory(uint32_t mem_upper_kib)
{
    uint32_t top = 0x100000 + mem_upper_kib * 1024;
    uint32_t all = (top - (uint32_t)image_end) / PAGE_SIZE;
    uint32_t array_pages, share;

    /* Generations first, then the pages; one array page serves 1024 pages. */
    array_pages = all / (WORDS + 1) + 1;
    generations = (uint32_t *)image_end;
    pages = image_end + array_pages * PAGE_SIZE;
    all -= array_pages;
    if (options.fill_pages && options.fill_pages < all)
        all = options.fill_pages;
    if (options.hot_pages > all)
        die("not that much memory to fill: ", "hot=");
    share = all / cpu_count;
    for (uint32_t i = 0; i < cpu_count; i++) {
        cpus[i].first_page = i * share;
        cpus[i].pages = share;
        cpus[i].hot_pages = options.hot_pages / cpu_count;
        if (!cpus[i].hot_pages)
            cpus[i].hot_pages = 1;
        cpus[i].random = 2463534242u + i;
    }
}

static void start_other_cpus(void)
{
    uint8_t *to = (uint8_t *)TRAMPOLINE;

    for (const uint8_t *from = ap_start; from < ap_end; from++)
        *to++ = *from;
    apic_write(0x300, 0xc4500); /* INIT, to all but this one */
    wait_ms(10);
    apic_write(0x300, 0xc4600 | TRAMPOLINE / PAGE_SIZE); /* start-up */
}

/* Touches per second of all processors, from SPEED_MS of the work that is to come. */
static uint32_t measure_speed(void)
{
    uint64_t begin = now_ms(), now = begin;
    uint32_t touched = 0;

    for (; now < begin + SPEED_MS; now = now_ms())
        work(&cpus[0], now);
    for (uint32_t i = 0; i < cpu_count; i++)
        touched += cpus[i].touched;
    return (uint32_t)divide((uint64_t)touched * 1000, (uint32_t)(now - begin), NULL);
}

void guest_main(const struct multiboot_info *info)
{
    uint32_t speed;

    calibrate_tsc();
    mask_legacy_interrupts();
    if (info->flags & 4)
        parse_cmdline((const char *)info->cmdline);
    cpu_count = count_cpus();
    share_memory(info->mem_upper_kib);
    start_timer();
    if (cpu_count > 1)
        start_other_cpus();
    fill(&cpus[0]);
    while (cpus_ready < cpu_count)
        relax();
    for (uint32_t i = 0; i < cpu_count; i++)
        cpus[i].last_ms = now_ms();
    go = true;
    speed = measure_speed();

    put_field("ready cpus=", cpu_count);
    put_field(" pages=", cpus[0].pages * cpu_count);
    put_field(" hot=", cpus[0].hot_pages * cpu_count);
    put(" pattern=");
    put(pattern_names[options.pattern]);
    put_field(" t_ms=", now_ms());
    put_field(" speed=", speed);
    put("\n");
    for (;;) {
        uint64_t now = now_ms();

        report(now);
        work(&cpus[0], now);
    }
}
