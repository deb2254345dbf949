/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/reason.h"

const char *const verdict_names[VERDICTS + 1] = {
#define X(constant, name) name,
    VERDICT_TABLE(X)
#undef X
};

const char *const reason_names[REASONS + 1] = {
#define X(constant, code, sentence) [REASON_##constant] = code,
    REASON_TABLE(X)
#undef X
};

static const char *const reason_sentences[REASONS] = {
#define X(constant, code, sentence) [REASON_##constant] = sentence,
    REASON_TABLE(X)
#undef X
};

const char *verdict_name(enum verdict verdict)
{
    return verdict_names[verdict];
}

const char *reason_name(enum reason reason)
{
    return reason_names[reason];
}

const char *reason_text(enum reason reason)
{
    return reason_sentences[reason];
}
