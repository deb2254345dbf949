/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every number that the estimate, the forecast and the decision were tuned with, in one place: its
 * unit in its name or its comment, where it comes from, and after `without:` the value that
 * switches its mechanism off. `tests/bench/ablation` sets each to that value and says which figures
 * of the scoreboard change and which unit tests fail. A constant for which neither
 * happens is deleted. Bounds of QEMU's and libvirt's are not tuned; they stand in limits.h.
 */
#ifndef MIGPOLICY_TUNING_H
#define MIGPOLICY_TUNING_H

#include "common/units.h"

/* The estimate: the link */

/* Rates are taken over this much time: about four of the controller's looks at the default
   poll_interval, thirty of QEMU's own windows. without: 1.0 */
#define WINDOW_S 3.0
/* And not over less than two of QEMU's windows of 100 ms, whose edges blur them: no row, for the
   model sends evenly; a_rate_is_not_taken_from_less_than_two_of_qemus_windows. without: 0.0 */
#define WINDOW_MIN_S 0.2
/* The newest part of the window alone counts when it differs from what was before by this factor:
   above what a link's noise makes of a quarter of the window, below a link that halves.
   without: 1e9 */
#define LINK_CHANGED 1.4
#define NEWEST       0.25 /* without: 1.0 */

/* What the link carries scatters, as measured over this much time. without: 1e9 */
#define NOISE_OVER_S 10.0
/* Of that, so much is of our own measuring. without: 0.0 */
#define NOISE_OURS 0.03
/* A look that is off by more than this shows a link that changes, and no noise. without: 1e9 */
#define NOISE_MOST 0.5

/* The estimate: the guest */

/* What a vCPU uses when nobody slows it is remembered over this much time: no row, but
   what_a_guest_used_a_minute_ago_is_forgotten. without: 1e9 */
#define BASELINE_S 10.0
/* The guest's speed is smoothed over two of the controller's looks at the least: no row, for the
   model throttles evenly; speed_is_not_that_of_a_single_look. without: 1e-9 */
#define SPEED_SMOOTH_S 0.25
/* A point of the dirty curve counts so much less after as long a pass as the longest known: guests
   with phases change within a few passes. without: 1.0 */
#define POINT_FADE 0.6
/* A point weighs no more than so many passes. without: 1e9 */
#define POINT_WEIGHT_MAX 2.5
/* Passes scatter around a curve by this much, relatively: likely by little, for most guests do the
   same all the time; possibly by more. Measured in the laboratory: 0.4 to 1.8%. without: 0.02 */
#define SCATTER_LIKELY   0.006
#define SCATTER_POSSIBLE 0.02 /* without: 0.006 */
/* It is believed as if so many passes had shown it. without: 0.0 */
#define SCATTER_PASSES 2.0
/* A curve is possible within so many standard deviations of the best. without: 0.5 */
#define DEVIATIONS 2.0
/* What is dirtied is known no better than to this part. without: 0.0 */
#define SIZE_ERROR 0.02
/* Passes whose lengths differ by less than this, as a logarithm, are of the same length.
   without: 0.0 */
#define SAME_TAU 0.05
/* A point that counts less than this does not count. without: 0.0 */
#define FORGOTTEN 0.05
/* What is known of a guest from before holds when its first pass leaves what the first pass left
   then, to this ratio... without: 1.0 */
#define KNOWN_RATIO 1.15
/* ...and so much of what the curve known finds dirty in such a time: no more than all, and no less
   than the mean over the pass, which memory without content makes less. without: 1e9 */
#define KNOWN_MORE 1.15
#define KNOWN_LESS 0.6 /* without: 0.0 */
/* The range of kappa tried, relative to the longest tau seen, and how finely. without: 0.1 */
#define KAPPA_MIN   0.01
#define KAPPA_MAX   800.0 /* without: 50.0 */
#define KAPPA_STEPS 60    /* without: 20 */
/* What is likely before there is a point, relative to the first pass. without: 0.01 */
#define KAPPA_FIRST 2.0

/* The forecast */

/* Time the guest is stopped beside sending memory, for pause, device state and resume: 0.05 to 0.15
   s in the laboratory. without: 0.0 */
#define OVERHEAD_S 0.15
/* A limit is set so that the ceiling is kept with this much of it, the most that is seen on hosts
   with few devices passed through. without: 0.15 */
#define OVERHEAD_MOST_S 0.3
/* Of that, so much is seldom needed: dates go without. without: 0.0 */
#define OVERHEAD_SPARE_S 0.1
/* The luckiest of QEMU's looks counts, by so much on average: dates go by that, and what is done
   does not rely on it. From windows that scatter by 3%. without: 0.0 */
#define LOOKS_GAIN 0.015
/* Of what the first pass has yet to send, so much may be memory without content, which takes no
   time: in 99 of 100 looks at the hard board less is. without: 0.0 */
#define EMPTY_MOST 0.5
/* A plateau is reached when the remainder has not fallen by this, relatively, for so many passes:
   for more than one, because whole bursts make it go up and down. without: 0.0 */
#define SETTLED        0.002
#define SETTLED_PASSES 3 /* without: 1 */

/* An end further away than so many passes is none. without: 50 */
#define PASSES_MAX 200

/* That it ends, or does not, is said when it is as likely as this. without: 0.5 */
#define SAY 0.9
/* Of the ends that are said to come, four in five come between these parts of the time said, by
   tests/bench/chance. without: 0.0 */
#define DATE_EARLY 0.96
#define DATE_LATE  1.08 /* without: 1e9 */

/* The alternatives */

/* A downtime limit is searched to this ratio. without: 1.1 */
#define EXACT 1.01

/* A blackout that just fits into the ceiling may be this much longer. without: 1.0 */
#define DOWNTIME_SLACK 1.05
/* QEMU ends at its luckiest look: a blackout may be longer than the limit by so many times the
   noise of the link. without: 0.0 */
#define LUCK 2.2
/* The limit set is above what is needed by this, for QEMU's measurement of the link scatters; and
   by more each time that a switchover is due and does not come. without: 1.0 */
#define DOWNTIME_MARGIN      1.04
#define DOWNTIME_MARGIN_STEP 1.06 /* without: 1.0 */
/* A step raises the limit by so much at least: less would cost a pass for nothing. without: 1.0 */
#define DOWNTIME_STEP_MIN 1.1
/* What pre-copy itself costs a guest that nobody slows, per second: dirty logging, contention.
   Measured in the laboratory and on Linux guests, 0.1 to 0.25. without: 0.0 */
#define BROWNOUT 0.15
/* How often a lesser limit does after all when it is tried: half of the time. without: 1e9 */
#define TRIAL_CHANCE 0.5
/* Downtime limits that differ by less than this are not worth a write. without: 0.0 */
#define DOWNTIME_DEADBAND 0.05
/* A downtime limit is meant to end it within this part of the time left, as far as the ceiling
   allows: the least that would do ends it just before the deadline, or just after. without: 1.0 */
#define DOWNTIME_PART 0.8
/* What a guest dirties may fall by this much any time. without: 0.0 */
#define MAY_CHANGE 0.1
/* A speed limit is what slows a link that carries more than this part of it. without: 0.0 */
#define SPEED_LIMITING 0.85
/* Where the policy names no limit, no more than so many times what the link carries is asked for.
   without: 1e9 */
#define SPEED_RAISE_MAX 16.0
/* A speed limit that would just do is raised by this much more. without: 1.0 */
#define SPEED_MARGIN 1.1
/* Speed limits that differ by less are not worth a write. without: 0.0 */
#define SPEED_DEADBAND 0.1
/* XBZRLE's cache is a hash without chains: it is made larger than the hot set. without: 1.0 */
#define CACHE_MARGIN 1.25
/* The guest's speed while its memory is fetched after the switch to post-copy: a guess that orders
   post-copy after a throttle, and before a pause. without: 1.0 */
#define POST_COPY_SPEED 0.5
/* A quota that leaves the guest more than this much of its speed does nothing. without: 1.0 */
#define USELESS_SPEED 0.95
/* Quotas that differ by less are not worth a write. without: 0.0 */
#define SHARE_DEADBAND 0.1
/* Whole passes under a throttle before the likeliest curve is believed, not the most favourable.
   without: 0 */
#define JUDGE_PASSES 2
/* The gentle objective aims at this part of the time left, and reckons with a guest that is faster
   by this: next to the critical speed a forecast is worth little. without: 1.0 */
#define GENTLE_PART   0.8
#define GENTLE_MARGIN 1.15 /* without: 1.0 */

/* The decision */

/* Nothing is started or released once the switchover comes within this time: an action takes
   a look to be decided, and one to work. without: 0.0 */
#define ABOUT_TO_END_S 1.0
/* Syncs in a row, and the time, for which the likeliest forecast must fail, or the remainder be
   flat whatever is forecast. without: 1 */
#define DOUBT_SYNCS 3
#define DOUBT_S     2.0 /* without: 0.0 */
/* An end that moves away, over any of the last syncs, by more than this part of the time that goes
   by is none. without: 1e9 */
#define MAY_SLIP 0.33
#define DATES    4 /* without: 1 */
/* A verdict that follows two which were taken back has to hold for so long before it is said, the
   next one for twice as long, and so on: of a guest that dirties as much as the link carries it
   changed 530 times in 13 minutes. without: 0.0 */
#define VERDICT_HOLD_S      1.0
#define VERDICT_HOLD_MOST_S 60.0 /* without: 1.0 */
/* Syncs in a row that show a plateau, or that no curve ends, are certainty. without: 1 */
#define SURE_SYNCS 2
/* Doubt ends when no more than this many times of what throttling would take is left. without: 0.0
 */
#define PRESSED 1.5
/* Passes in a row under a throttle that find no less, for it to be called ineffective. without: 1
 */
#define STUCK_PASSES 2
/* The remainder still shrinks when it falls by more than this. without: 1.0 */
#define NOT_SHRINKING 0.97
/* And it is flat when it is at least this much of what it was a pass before. without: 1e9 */
#define FLAT 0.99
/* Under a throttle it is so too when so many passes in a row, over that time, have found no less
   than one before, though they go up and down. without: 1000000 */
#define NO_LOWER_PASSES 10
/* Busy phases are waited out for so long at most, and so long before what cannot be taken back:
   bursts and checkpoints take 10 to 30 s.
   without: 0.0 */
#define WAIT_MOST_S 20.0
/* A guest whose passes find the same, to this part and for so many syncs in a row, does the same
   all the time: waiting changes nothing. without: 1e9 */
#define STEADY       0.03
#define STEADY_SYNCS 2 /* without: 0 */
/* Guest and link may each vary by a tenth: so many times what fits into the switchover is near.
   without: 0.0 */
#define NEAR 1.2
/* A throttle given up gets another try when so many times as much fits into the switchover.
   without: 1e9 */
#define FASTER 1.5
/* An action that failed for a passing reason is tried again after this long, then after twice that,
   and so on: libvirt gives up a lock after 30 s. without: 0.0 */
#define RETRY_S     1.0
#define RETRIES_MAX 6 /* without: 0 */
/* A switchover is due when a sync finds less than this part of what fits into the downtime limit:
   by more than QEMU's measurement of the link scatters. After so many syncs in a row and this long,
   something else holds it. without: 1.0 */
#define DUE_PART  0.9
#define DUE_SYNCS 3   /* without: 1 */
#define DUE_S     1.0 /* without: 0.0 */
/* Where it is less than what fits, but not by that much, that takes longer to be certain of.
   without: 1000000 */
#define NEARLY_DUE_SYNCS 30
#define NEARLY_DUE_S     10.0 /* without: 0.0 */
/* What holds it is unknown but for that it is more than this; each time it was more than was
   thought, so much is added. without: 1.0 */
#define HELD_STEP 1.25
/* A limit that another program changed is set again so many times (spec: hold). without: 0 */
#define HOLDS_MAX 20
/* A deadline that nobody stated: this, or so many times what one pass needs. without: 1.0 */
#define DEADLINE_S      600.0
#define DEADLINE_PASSES 4.0 /* without: 0.0 */
/* A limit is lowered when it exceeds what the ceiling allows by this. without: 1.0 */
#define CEILING_DEADBAND 1.1
/* A ceiling that pause and device state alone would break is met as far as possible: with a limit
   of this part of it. without: 1.0 */
#define CEILING_PART 0.2
/* Hopelessness must have lasted this long, and this many syncs, to cancel before the deadline.
   without: 0.0 */
#define HOPELESS_HOLD_S     30.0
#define HOPELESS_HOLD_SYNCS 5 /* without: 0 */
/* A migration past its deadline is left alone when it ends within a tenth of it, at most this.
   without: 0.0 */
#define GRACE_MAX_S 5.0
/* The limit that stops and copies covers this much more than what a pass began with. without: 1.0
 */
#define PRECOPY_MARGIN 1.1
/* Asked for and not there after this long, post-copy has failed. without: 1e9 */
#define POST_COPY_WAIT_S 10.0
/* A cancel that had no effect is asked for again after this long. without: 0.0 */
#define CANCEL_RETRY_S 10.0

#endif
