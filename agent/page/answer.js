// SPDX-License-Identifier: LGPL-2.1-or-later
// Answering what is asked, where the daemon knows who looks at the page and lets them. Of page.js it uses
// the elements and the quantities; all are one script.
"use strict";

// What is asked, for "May it …?"
const MAY = { bandwidth: "raise the speed limit", "compression-cache": "grow the compression cache",
  downtime: "raise the downtime limit", throttle: "slow the guest down", "post-copy": "switch to post-copy",
  suspend: "pause the guest", cancel: "cancel the migration" };

let you = { name: null, may_answer: false };

async function askWho() {
  const told = await ask("you");
  if (!told) return;
  you = told;
  set($("you"), you.may_answer
    ? `You may answer questions, as ${you.name}.`
    : "This page only shows: questions are answered on the host, with migpolicy approve or migpolicy deny.");
}

async function sendAnswer(id, answer, ceiling) {
  try {
    const reply = await fetch(API + "answer", {
      method: "POST", headers: { "Content-Type": "application/json" }, signal: AbortSignal.timeout(LOST_MS),
      body: JSON.stringify({ id, answer, ...(ceiling ? { max_work_lost: ceiling } : {}) }),
    });
    if (reply.ok) return null;
    return (await reply.json().catch(() => null))?.error ?? `refused, with the status ${reply.status}`;
  } catch {
    return "migpolicyd does not answer: whether it has taken this is not known";
  }
}

// A yes or no takes two steps, and belongs to the question that was to be read at the first: cards move,
// and fingers slip. When another question has come meanwhile, the first step is to be taken again.
function prepareAnswer(card) {
  const find = (selector) => card.node.querySelector(".question " + selector);
  const step = (sure) => {
    find(".choices").hidden = sure;
    find(".sure").hidden = !sure;
  };
  const choose = (answer) => {
    const ceiling = find(".ceiling input").value.trim();
    card.answering = { id: card.migration.proposal.id, answer, ceiling: answer === "approve" ? ceiling : "" };
    const what = MAY[card.migration.proposal.action] ?? card.migration.proposal.action;
    set(find(".send"), answer === "deny" ? `No, do not ${what}` : `Yes, ${what}${ceiling && `, losing ${ceiling} at most`}`);
    set(find(".said"), "");
    step(true);
    find(".send").focus();
  };
  const back = () => {
    card.answering = null;
    step(false);
  };
  card.stepBack = back;
  find(".yes").addEventListener("click", () => choose("approve"));
  find(".no").addEventListener("click", () => choose("deny"));
  find(".back").addEventListener("click", () => { back(); find(".yes").focus(); });
  find(".send").addEventListener("click", async () => {
    const { id, answer, ceiling } = card.answering;
    find(".send").disabled = true;
    const refused = await sendAnswer(id, answer, ceiling);
    find(".send").disabled = false;
    back();
    set(find(".said"), refused ? capital(refused) + "." : "");
    (refused ? find(".yes") : card.node.querySelector("summary")).focus({ preventScroll: true });
    refreshCard(card);
  });
}

function showQuestion(card, p) {
  const question = card.node.querySelector(".question");
  const find = (selector) => question.querySelector(selector);
  question.hidden = !p;
  if (!p) {
    if (card.answering) card.stepBack();
    set(find(".said"), "");
    return;
  }
  set(find(".asks"), `May it ${MAY[p.action] ?? p.action}?`);
  set(find(".detail"), `${capital(p.detail)} (${p.reason_text}).`);
  find(".by-command").hidden = you.may_answer;
  find(".by-hand").hidden = !you.may_answer;
  for (const node of question.querySelectorAll(".expires")) set(node, whole(p.expires_seconds));
  set(find(".approve"), `migpolicy approve ${p.id}`);
  set(find(".deny"), `migpolicy deny ${p.id}`);
  find(".ceiling").hidden = p.action !== "throttle";
  if (card.answering && card.answering.id !== p.id) {
    card.stepBack();
    set(find(".said"), "It asks something else now: read it again.");
  }
}
