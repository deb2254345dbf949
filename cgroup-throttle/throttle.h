/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slow down the vCPUs of one domain by CPU quotas, and undo it.
 *
 *   throttle_open → throttle_set, throttle_set, … → throttle_restore → throttle_free
 *
 * The originals are in the undo journal on disk before the first change, and the journal stays
 * until every quota is back. What was left undone, by a crash or because it failed, is done by
 * throttle_restore_journal() of each journal, as often as it takes.
 *
 * Functions return 0 or -errno; outputs are untouched on failure unless stated.
 */
#ifndef MIGPOLICY_THROTTLE_H
#define MIGPOLICY_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Where the world is. Strings are borrowed and must outlive every handle opened with them. */
struct throttle_roots {
    const char *proc;    /* "/proc"; its self/mountinfo tells where the cgroups are */
    const char *run_dir; /* exists; the journal is RUN_DIR/undo/UUID.json */
};

/* What a restore found and did, in vCPUs. */
struct throttle_result {
    size_t restored; /* now as they were found */
    size_t gone;     /* their group or their process no longer exists, for certain */
    size_t drifted;  /* another writer changed them: its values were left alone */
    size_t failed;   /* could not be restored; the journal is kept */
};

/* /proc and /run/migpolicy. */
struct throttle_roots throttle_roots_default(void);

/*
 * The process id of the QEMU that runs a domain. Of several processes with its command line, that
 * whose vCPUs are in groups of their own. -ENOENT: none. -ENOTUNIQ: several, as when both ends of a
 * migration share a host; then libvirt's pid file says which. Thread-safe.
 */
int throttle_find_pid(const struct throttle_roots *roots, const char *uuid, pid_t *ret_pid);

struct throttle;

/*
 * Find and check the vCPU groups of a running domain; changes nothing, unless an older journal of
 * the same domain shows that its quotas are still not restored: that is done first. At most one
 * handle per domain at a time, until it is freed or its final restore has worked; an earlier one,
 * or a restore from its journal, is waited for some seconds. Free with throttle_free().
 * Thread-safe.
 *
 * -ENOENT      no such process
 * -ESTALE      the process does not run this domain
 * -EOPNOTSUPP  no cpu controller, or the vCPUs are not alone in cgroups of their own
 * -EACCES, -EPERM, -EROFS  no permission on the cgroups
 * -EINVAL      not a UUID, or pid below 2
 * -EBUSY       another handle of the domain is open
 * -EBADMSG, -EPROTONOSUPPORT  the domain's journal is malformed, or of another version
 * and as throttle_restore_journal(), if the older journal cannot be undone
 */
int throttle_open(const struct throttle_roots *roots, const char *uuid, const char *name, pid_t pid,
                  struct throttle **ret_throttle);

/* Restores nothing. A journal that is still there is left for throttle_restore_journal(). */
void throttle_free(struct throttle *t);

size_t throttle_vcpu_count(const struct throttle *t);

/*
 * The CPUs each vCPU can use while we leave it alone, on average: 1, or less where its group is
 * limited, or where one above is and the vCPUs together spend what it allows; then as much as the
 * busiest of them gets. That is seen by calling this now and then, with the monotonic clock; the
 * last figure stays while a quota of ours is in force. Thread-safe.
 */
double throttle_allowance(struct throttle *t, int64_t now_ns);

/*
 * Leave each vCPU share (0..1] of what it could use before, see throttle_allowance(). Never loosens
 * a quota above its original; 1 puts the originals back. period_us, 1000 to 1000000, is lengthened
 * where the quota would be below 1 ms (so a share under 0.1% is 0.1%). Writes only what differs.
 *
 * On error nothing is half-applied: the domain is untouched by this call (-EINVAL, -ESHUTDOWN,
 * -ESTALE, -ENOENT, -EBUSY, or the journal could not be written), or, when a write failed, all its
 * originals are restored. If that failed too, the journal is still there: throttle_restore() again.
 *
 * -EINVAL     share or period out of range; or the kernel refused a quota
 * -ENOENT     the process or a group is gone
 * -ESTALE     a vCPU thread is not in its group any more
 * -EBUSY      another writer changed a quota
 * -ESHUTDOWN  after a final restore
 *
 * Thread-safe.
 */
int throttle_set(struct throttle *t, double share, int64_t period_us);

/*
 * Put the originals back and remove the journal. Repeating it is harmless and cheap. A quota or
 * period that is neither the original nor ours is left alone and its vCPU counted as drifted.
 * final: every later throttle_set() is refused, also by a thread that is already waiting for this
 * one. ret_result, which may be NULL, is set on failure too: an error means that the journal was
 * kept, or could not be removed. Thread-safe.
 */
int throttle_restore(struct throttle *t, bool final, struct throttle_result *ret_result);

/* May a quota of ours be in force? It is until its journal is removed. Thread-safe. */
bool throttle_in_force(struct throttle *t);

/*
 * Is everything still as we left it? ret_drifted gets the number of vCPUs whose quota is not what
 * was last set. -ENOENT: the process or a group is gone. -ESTALE: a vCPU thread left its group.
 * Thread-safe.
 */
int throttle_check(struct throttle *t, size_t *ret_drifted);

#define THROTTLE_ALL_VCPUS ((size_t)-1)

/*
 * CPU time consumed so far by one vCPU (0 to count-1, in the order of their indexes) or by all.
 * -ENOENT: the process is gone. -EINVAL: no such vCPU. Thread-safe.
 */
int throttle_usage_ns(struct throttle *t, size_t vcpu, uint64_t *ret_ns);

/*
 * Undo what the journal of a domain tells. What is not seen is not taken for gone: then, as
 * whenever it fails, the journal is kept. Where the process is gone for certain the journal is just
 * removed; a process that has taken over the pid is not touched. ret_name, to be freed, is the name
 * of the domain, or NULL if that could not be read; both outputs are set on failure too, unless it
 * is -EBUSY or -EBADMSG. Thread-safe.
 *
 * -ENOENT           there is no journal
 * -EBUSY            a handle of the domain is open
 * -EBADMSG          the journal is malformed
 * -EPROTONOSUPPORT  it is of another version of the format
 * -ENODATA          the process or its cgroups cannot be seen, but may be there
 * -EINVAL           the original quota is refused, because a group above has less by now; the group
 *                   has been left without a limit of its own
 * -ESTALE           a vCPU thread is in another group
 * -EPERM            others may write in the directory of the journals; or no permission
 */
int throttle_restore_journal(const struct throttle_roots *roots, const char *uuid, char **ret_name,
                             struct throttle_result *ret_result);

/*
 * Calls fn for each journal there is, whatever is in it; open: a handle of that domain is open. fn
 * may restore it. Returns 0, or -errno when they cannot be listed. Thread-safe.
 */
typedef void (*throttle_journal_fn)(const char *uuid, bool open, void *opaque);
int throttle_list_journals(const struct throttle_roots *roots, throttle_journal_fn fn,
                           void *opaque);

/* Removes what was being written when an agent died. No handle must be open. */
void throttle_sweep(const struct throttle_roots *roots);

/* When a journal was last written, by the system's clock. Returns 0 or -errno. Thread-safe. */
int throttle_journal_written(const struct throttle_roots *roots, const char *uuid,
                             struct timespec *ret);

/* Why a restore failed, in words. */
const char *throttle_error(int error);

/*
 * throttle_sweep(), and throttle_restore_journal() of every journal in run_dir. report, which may
 * be NULL, is called for each: name is NULL and the result zero unless the journal could be read.
 * Returns 0 or the first error.
 */
typedef void (*throttle_report_fn)(const char *uuid, const char *name, int error,
                                   const struct throttle_result *result, void *opaque);
int throttle_restore_all(const struct throttle_roots *roots, throttle_report_fn report,
                         void *opaque);

#endif
