/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one table of reason codes: log, audit, metrics, status and explain all use it.
 */
#ifndef MIGPOLICY_REASON_H
#define MIGPOLICY_REASON_H

/* clang-format off */
/* X(constant, name) */
#define VERDICT_TABLE(X) \
    X(STARTING, "starting") \
    X(CONVERGING, "converging") \
    X(PLATEAU, "plateau") \
    X(NEEDS_HELP, "needs-help") \
    X(HELPED, "helped") \
    X(HOPELESS, "hopeless") \
    X(STALLED, "stalled") \
    X(SWITCHOVER, "switchover") \
    X(POST_COPY, "post-copy") \
    X(DONE, "done")

/* X(constant, code, sentence) */
#define REASON_TABLE(X) \
    X(NONE, "none", "nothing to report") \
    X(NO_EVIDENCE, "no-evidence", "too early to judge: the first pass and one more are not complete") \
    X(CONVERGES, "converges", "it ends by itself") \
    X(UNSTEADY, "unsteady", "passes differ from one to the next: a quieter phase may end it") \
    X(UNCONFIRMED, "unconfirmed", "passes have stopped shrinking; the next one decides") \
    X(PATIENCE, "patience", "a plateau; the policy's patience is not over") \
    X(NOT_APPROVED, "not-approved", "no action that would help is approved") \
    X(ASKED, "asked", "an administrator is to be asked") \
    X(DENIED, "denied", "an administrator has said no") \
    X(ASK_TIMEOUT, "ask-timeout", "nobody has answered within ask_timeout") \
    X(BANDWIDTH_SUFFICES, "bandwidth-suffices", "a higher speed limit alone ends it") \
    X(BANDWIDTH_WORTH_A_TRY, "bandwidth-worth-a-try", "the speed limit may be what slows the migration") \
    X(BANDWIDTH_NOT_LIMITING, "bandwidth-not-limiting", "the speed limit is not what slows the migration") \
    X(BANDWIDTH_OVER_CEILING, "bandwidth-over-ceiling", "max_bandwidth is reached") \
    X(CACHE_WORTH_A_TRY, "cache-worth-a-try", "the compression cache is smaller than what the guest writes to") \
    X(CACHE_LARGE_ENOUGH, "cache-large-enough", "a larger compression cache would not help, or is above max_compression_cache") \
    X(NOT_COMPRESSED, "not-compressed", "the migration is not compressed by XBZRLE") \
    X(DOWNTIME_SUFFICES, "downtime-suffices", "a longer downtime alone ends it") \
    X(THROTTLE_SUFFICES, "throttle-suffices", "throttling the vCPUs alone ends it") \
    X(BOTH_SUFFICE, "both-suffice", "a longer downtime and throttling together end it") \
    X(DOWNTIME_WORTH_A_TRY, "downtime-worth-a-try", "a longer downtime makes passes shorter, which may be enough") \
    X(DOWNTIME_INSUFFICIENT, "downtime-insufficient", "no downtime limit that libvirt accepts would end it") \
    X(DOWNTIME_OVER_CEILING, "downtime-over-ceiling", "the downtime it needs is above max_downtime") \
    X(THROTTLE_WORTH_A_TRY, "throttle-worth-a-try", "what is in force does not do, and the hardest that is allowed has not been tried yet") \
    X(THROTTLE_INSUFFICIENT, "throttle-insufficient", "even at min_cpu the guest dirties memory too fast") \
    X(THROTTLE_OVER_BUDGET, "throttle-over-budget", "it would lose more guest work than max_work_lost leaves") \
    X(THROTTLE_USELESS, "throttle-useless", "the vCPUs use less than the quota would leave them") \
    X(THROTTLE_INEFFECTIVE, "throttle-ineffective", "throttling does not lower the dirtying of memory enough for this link") \
    X(WORK_BUDGET_SPENT, "work-budget-spent", "max_work_lost is used up") \
    X(NO_CGROUP, "no-cgroup", "its vCPUs have no cgroups of their own that may be written") \
    X(AUTO_CONVERGE, "auto-converge", "QEMU's auto-converge already throttles the guest") \
    X(OTHER_WRITER, "other-writer", "somebody else changed what we had set") \
    X(POST_COPY_SUFFICES, "post-copy-suffices", "post-copy ends it whatever the guest writes") \
    X(POST_COPY_UNAVAILABLE, "post-copy-unavailable", "the migration was not started with post-copy") \
    X(POST_COPY_FAILED, "post-copy-failed", "post-copy lost its connection: the guest is stopped until it is recovered") \
    X(SUSPEND_SUFFICES, "suspend-suffices", "pausing the guest ends it") \
    X(SUSPENDED, "suspended", "the guest is paused until the rest is sent") \
    X(PRECOPY_LIMIT, "precopy-limit", "precopy_iterations or precopy_threshold is reached") \
    X(CEILING, "ceiling", "the downtime limit in force would break max_downtime") \
    X(CEILING_AT_RISK, "ceiling-at-risk", "it ends by itself, but max_downtime cannot be kept") \
    X(AIM, "aim", "the policy aims at a shorter downtime") \
    X(HELD, "switchover-held", "the switchover is due and does not come: something beside guest memory holds it, such as device state") \
    X(HOLD, "hold", "another program had changed a limit we set") \
    X(RETRY, "retry", "an action failed for a reason that may pass; it is tried again") \
    X(HOST_LIMIT, "host-limit", "the speed limit we set is above what max_bandwidth or the host's ceiling allows now") \
    X(LESS_SUFFICES, "less-suffices", "it ends without this as well") \
    X(IN_FORCE, "in-force", "the action taken is at work") \
    X(ABOUT_TO_END, "about-to-end", "it ends sooner than anything else would help") \
    X(NOTHING_WORKS, "nothing-works", "nothing that is approved would end it in time") \
    X(DEADLINE, "deadline", "the deadline has passed") \
    X(STALLED, "stalled", "no progress for stall_timeout") \
    X(POST_COPY, "post-copy", "the guest already runs on the destination") \
    X(SWITCHOVER, "switchover", "the guest is paused for the switchover") \
    X(ENDED, "ended", "the migration has ended") \
    X(RELEASED, "released", "an administrator has given the guest its CPU back") \
    X(PAUSED, "paused", "an administrator has paused the agent") \
    X(POLICY_CHANGED, "policy-changed", "the policy no longer allows it") \
    X(AGENT_STOP, "agent-stop", "migpolicyd is stopping") \
    X(LEFT_BEHIND, "left-behind", "an agent that did not stop cleanly left it throttled") \
    X(LIBVIRT_LOST, "libvirt-lost", "libvirt cannot be reached") \
    X(STALE, "stale", "no fresh statistics; a throttle is not kept on old evidence") \
    X(ACTION_FAILED, "action-failed", "an action failed")
/* clang-format on */

enum verdict {
#define X(constant, name) VERDICT_##constant,
    VERDICT_TABLE(X)
#undef X
        VERDICTS
};

enum reason {
#define X(constant, code, sentence) REASON_##constant,
    REASON_TABLE(X)
#undef X
        REASONS
};

/* Names as they stand in JSON, metrics and logs; sentences for people. Static, never NULL. */
const char *verdict_name(enum verdict verdict);
const char *reason_name(enum reason reason);
const char *reason_text(enum reason reason);

/* All names in order, ended by NULL, for closed label sets. */
extern const char *const verdict_names[VERDICTS + 1];
extern const char *const reason_names[REASONS + 1];

#endif
