"use strict";
(() => {
  const VERDICTS = [
    ["left", "prefer-left", "A is better", "1", "←"],
    ["tie", "tie", "Equally good", "0", ""],
    ["both_bad", "both-bad", "Both bad", "x", ""],
    ["right", "prefer-right", "B is better", "2", "→"],
  ];
  const KEYS = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 0: "tie", x: "both_bad" };
  const byId = (id) => document.getElementById(id);
  const main = byId("main");
  const help = byId("help");

  // Everything shown goes through here, and every text through a text node: nothing is ever parsed as markup.
  function el(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined) element.append(child);
    }
    return element;
  }

  function say(text, bad) {
    const message = byId("message");
    message.hidden = !text;
    message.textContent = text || "";
    message.className = bad ? "bad" : "";
  }

  function save(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // Where tasks come from and answers go: the server, or this file and the browser's storage.
  function online(token) {
    async function ask(path, body) {
      const headers = { Authorization: "Bearer " + token };
      if (body) headers["Content-Type"] = "application/json";
      let reply;
      try {
        reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
      } catch {
        throw new Error("The server does not answer.");
      }
      if (reply.ok) return reply;
      const { error } = await reply.json().catch(() => ({}));
      throw new Error(error || "The server answered " + reply.status + ".");
    }
    const json = async (path, body) => (await ask(path, body)).json();
    return {
      session: () => json("/api/session"),
      at: (place) => json("/api/task?at=" + place),
      next: (after) => json("/api/task" + (after === null ? "" : "?after=" + after)),
      judge: (judgement) => json("/api/judgement", judgement),
      results: () => json("/api/results"),
      progress: () => json("/api/progress"),
      text: async (path) => (await ask(path)).text(),
    };
  }

  function offline(data) {
    const key = "burnisher-review:" + data.digest + ":" + data.judge;
    const known = new Map(data.tasks.map((task, place) => [task.task, place]));
    const whole = (value) => Number.isSafeInteger(value) && value >= 0;
    function scored([name, sides]) {
      const criterion = data.study.criteria.find((criterion) => criterion.name === name);
      const within = (score) => score === null || score === undefined || (Number.isInteger(score) && score >= criterion.min && score <= criterion.max);
      return criterion && sides && within(sides.left) && within(sides.right);
    }
    // Whether a line of a file is what this page could have saved.
    function fits(line) {
      const { time_ms, task, verdict, scores, comment, elapsed_ms } = line || {};
      return (
        whole(time_ms) &&
        known.has(task) &&
        VERDICTS.some(([name]) => name === verdict) &&
        (scores === undefined || (scores && typeof scores === "object" && Object.entries(scores).every(scored))) &&
        (comment === undefined || typeof comment === "string") &&
        (elapsed_ms === undefined || elapsed_ms === null || whole(elapsed_ms))
      );
    }
    const same = ({ time_ms, task, verdict, scores, comment, elapsed_ms }) => ({ time_ms, task, verdict, scores, comment, elapsed_ms });
    // Every answer once, by time: the later answer to a task counts, wherever it comes from.
    function merged(first, second) {
      const all = new Map([...first, ...second].map(same).map((line) => [JSON.stringify(line), line]));
      return [...all.values()].sort((a, b) => a.time_ms - b.time_ms);
    }
    const stored = () => JSON.parse(localStorage.getItem(key) || "[]").filter(fits);
    let lines = [];
    try {
      lines = stored();
    } catch {
      say("This browser keeps nothing between visits: save your answers before you close the page.", true);
    }
    const answers = () => new Map(lines.map((line) => [line.task, line]));
    function keep() {
      try {
        // Another tab may have written meanwhile.
        lines = merged(stored(), lines);
        localStorage.setItem(key, JSON.stringify(lines));
      } catch {
        say("This browser could not keep the answer: save your answers before you close the page.", true);
      }
    }
    function view(place) {
      const given = answers();
      const task = place === undefined ? null : { ...data.tasks[place], answer: given.get(data.tasks[place].task) || null };
      return { task, progress: { judge: data.judge, answered: given.size, of: data.tasks.length } };
    }
    return {
      session: async () => ({ role: "judge", name: data.judge, study: data.study }),
      at: async (place) => view(place),
      next: async (after) => {
        const given = answers();
        const start = after === null ? 0 : after + 1;
        const places = data.tasks.map((_, place) => (place + start) % data.tasks.length);
        return view(places.find((place) => !given.has(data.tasks[place].task)));
      },
      judge: async (judgement) => {
        // A clock that was set back must not make the answer before the later one.
        const before = answers().get(judgement.task);
        lines.push({ time_ms: Math.max(Date.now(), before ? before.time_ms : 0), ...judgement });
        keep();
        return view();
      },
      save: () => {
        const head = { burnisher_offline: 1, study: data.digest, judge: data.judge };
        return [head, ...lines].map((line) => JSON.stringify(line) + "\n").join("");
      },
      load: (text) => {
        const [head, ...found] = text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
        if (!head || head.study !== data.digest || head.judge !== data.judge) {
          throw new Error("This file is of another study or of another judge.");
        }
        if (!found.every(fits)) throw new Error("This file holds answers that do not fit the tasks of this page.");
        lines = merged(lines, found);
        keep();
        return found.length;
      },
    };
  }

  const data = byId("data");
  const source = data ? offline(JSON.parse(data.textContent)) : online(location.hash.slice(1));
  let study = null;
  let task = null;
  let progress = null;
  let scores = {};
  let shown = 0;
  let busy = false;

  async function doing(work) {
    if (busy) return;
    busy = true;
    try {
      await work();
    } catch (error) {
      say(error.message, true);
    } finally {
      busy = false;
    }
  }

  function showProgress() {
    const { answered, of } = progress;
    byId("count").textContent = answered + " of " + of;
    byId("bar").style.width = (of ? (100 * answered) / of : 100) + "%";
    const meter = byId("meter");
    meter.setAttribute("aria-valuemax", of);
    meter.setAttribute("aria-valuenow", answered);
  }

  function show(reply) {
    task = reply.task;
    progress = reply.progress;
    showProgress();
    main.replaceChildren(...(task ? taskView() : doneView()));
    main.dataset.task = task ? task.at : "done";
    shown = performance.now();
    window.scrollTo(0, 0);
  }

  function doneView() {
    const done = progress.of === 0 ? "There is nothing to judge." : "All " + progress.of + " pairs are judged. Thank you.";
    const back = progress.of > 0 && el("button", { type: "button", onclick: () => goBack() }, "Change the last answer ", el("kbd", {}, "u"));
    return [el("section", { class: "card done" }, el("h2", {}, done), back || null), fileView()].filter(Boolean);
  }

  function fileView() {
    if (!source.save) return null;
    const name = "judgements-" + byId("who").textContent.replace(/[^\p{L}\p{N}]+/gu, "-") + ".jsonl";
    const load = async (event) => {
      const [file] = event.target.files;
      if (!file) return;
      event.target.value = "";
      const count = source.load(await file.text());
      show(await source.next(null));
      say(count + " answers read.");
    };
    return el(
      "footer",
      { class: "files" },
      el("button", { type: "button", id: "save", onclick: () => save(name, source.save(), "application/x-ndjson") }, "Save answers"),
      el("label", { class: "button" }, "Read answers", el("input", { type: "file", id: "load", accept: ".jsonl", onchange: (event) => doing(() => load(event)) })),
      el("span", {}, "Answers stay in this browser until you save them and send the file."),
    );
  }

  function folded(title, text) {
    return text === undefined ? null : el("details", {}, el("summary", {}, title), el("div", { class: "text", dir: "auto" }, text));
  }

  function sideView(side, letter, place) {
    const { text, system } = task[side];
    return el(
      "article",
      { class: "card side", id: side, "aria-label": letter + ", " + place },
      el("h2", {}, letter, system ? " · " + system : null),
      el("div", { class: "text", dir: "auto" }, text),
    );
  }

  function taskView() {
    scores = structuredClone((task.answer && task.answer.scores) || {});
    const buttons = VERDICTS.map(([verdict, id, label, key, arrow]) =>
      el(
        "button",
        { type: "button", id, class: "verdict", "aria-pressed": String(!!task.answer && task.answer.verdict === verdict), onclick: () => choose(verdict) },
        arrow === "←" ? "← " : null,
        label,
        arrow === "→" ? " →" : null,
        el("kbd", {}, key),
      ),
    );
    const comment = el("textarea", { id: "comment", rows: 2, maxlength: 4000, placeholder: "Comment (c)", "aria-label": "Comment" });
    comment.value = (task.answer && task.answer.comment) || "";
    return [
      study.instructions && el("details", { class: "card", open: progress.answered === 0 }, el("summary", {}, "Instructions"), el("div", { class: "text", dir: "auto" }, study.instructions)),
      el("section", { class: "card prompt", "aria-label": "Prompt" }, el("h2", {}, "Prompt", task.item ? " · " + task.item : null), el("div", { class: "text", dir: "auto" }, task.prompt), folded("Context", task.context), folded("Reference answer", task.reference)),
      el("div", { class: "sides" }, sideView("left", "A", "left"), sideView("right", "B", "right")),
      study.criteria.length > 0 && el("section", { class: "card criteria", "aria-label": "Scores" }, study.criteria.map(criterionView)),
      comment,
      el("div", { class: "verdicts", role: "group", "aria-label": "Which answer is better?" }, buttons),
      el(
        "nav",
        {},
        el("button", { type: "button", class: "quiet", id: "back", disabled: task.at === 0, onclick: () => goBack() }, "Back ", el("kbd", {}, "u")),
        el("button", { type: "button", class: "quiet", id: "skip", onclick: () => skip() }, "Skip ", el("kbd", {}, "s")),
      ),
      fileView(),
    ].filter(Boolean);
  }

  function criterionView(criterion, index) {
    const required = criterion.need === "required";
    const group = (side, letter) => {
      const points = [];
      for (let point = criterion.min; point <= criterion.max; point++) {
        const checked = ((scores[criterion.name] || {})[side] ?? null) === point;
        const name = "score-" + index + "-" + side;
        points.push(el("label", {}, el("input", { type: "radio", name, value: point, checked, onchange: () => score(criterion, side, point) }), el("span", {}, String(point))));
      }
      return el("fieldset", { "data-criterion": index, "data-side": side }, el("legend", {}, letter), points);
    };
    return el(
      "div",
      { class: "criterion" },
      el("p", {}, el("strong", {}, criterion.name), required ? " (needed)" : null, criterion.description ? el("span", {}, " " + criterion.description) : null),
      group("left", "A"),
      group("right", "B"),
    );
  }

  function score(criterion, side, point) {
    scores[criterion.name] = { left: null, right: null, ...scores[criterion.name], [side]: point };
  }

  const groups = () => [...document.querySelectorAll(".criteria fieldset")];
  const enter = (group) => (group.querySelector(":checked") || group.querySelector("input")).focus();

  function missing() {
    return groups().find((group) => study.criteria[group.dataset.criterion].need === "required" && !group.querySelector(":checked"));
  }

  function choose(verdict) {
    const lacking = missing();
    if (lacking) {
      say("A score for " + study.criteria[lacking.dataset.criterion].name + " is needed first.", true);
      enter(lacking);
      return;
    }
    doing(async () => {
      const elapsed_ms = Math.max(0, Math.round(performance.now() - shown));
      await source.judge({ task: task.task, verdict, scores, comment: byId("comment").value, elapsed_ms });
      say("");
      show(await source.next(task.at));
    });
  }

  function goBack() {
    const place = task ? task.at - 1 : progress.of - 1;
    if (place >= 0) doing(async () => show(await source.at(place)));
  }

  function skip() {
    if (task) doing(async () => show(await source.next(task.at)));
  }

  // A digit in a row of scores chooses and moves on; 0 is 10 on a scale that has 10 and no 0.
  function scoreKey(event, input) {
    const group = input.closest("fieldset");
    if (event.key === "Escape") {
      input.blur();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      group.querySelectorAll("input").forEach((point) => (point.checked = false));
      score(study.criteria[group.dataset.criterion], group.dataset.side, null);
    } else if (/^[0-9]$/.test(event.key)) {
      const point = (value) => group.querySelector('input[value="' + value + '"]');
      const wanted = point(event.key) || (event.key === "0" ? point("10") : null);
      if (!wanted) return;
      wanted.click();
      const all = groups();
      const following = all[all.indexOf(group) + 1];
      if (following) enter(following);
      else input.getRootNode().activeElement.blur();
    } else {
      return;
    }
    event.preventDefault();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) return;
    const { target } = event;
    if (target.matches("textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (target.matches("input[type=radio]") && (/^([0-9]|Escape|Delete|Backspace)$/.test(event.key) || event.key.startsWith("Arrow"))) {
      scoreKey(event, target);
      return;
    }
    const verdict = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
    const actions = {
      c: () => byId("comment") && byId("comment").focus(),
      k: () => groups()[0] && enter(groups()[0]),
      u: goBack,
      s: skip,
      "?": () => help.showModal(),
    };
    const action = verdict ? () => task && choose(verdict) : Object.hasOwn(actions, event.key) ? actions[event.key] : null;
    if (!action || !study || (owner && event.key !== "?")) return;
    event.preventDefault();
    // A key held down must not judge one pair after the other.
    if (!event.repeat) action();
  });
  byId("help-button").addEventListener("click", () => help.showModal());

  // What the owner sees.
  let owner = false;
  const percent = ({ value, interval }) =>
    value === null ? "–" : (100 * value).toFixed(1) + " % (" + interval.map((bound) => (100 * bound).toFixed(1)).join(" to ") + ")";
  const rating = (found) => (found ? found.value.toFixed(0) + " (" + found.interval.map((bound) => bound.toFixed(0)).join(" to ") + ")" : "–");
  const METHODS = { wilson: "Wilson, votes", item_bootstrap: "bootstrap, items", wilson_items: "Wilson, items" };
  const decimal = (value) => (value === null ? "–" : value.toFixed(3));

  function table(title, head, rows) {
    if (rows.length === 0) return null;
    const row = (cells, tag) => el("tr", {}, cells.map((cell) => el(tag, {}, String(cell ?? "–"))));
    return el("section", { class: "card" }, el("h2", {}, title), el("div", { class: "scroll" }, el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, rows.map((cells) => row(cells, "td"))))));
  }

  async function showResults() {
    const { results, markdown } = await source.results();
    const answered = results.judges.reduce((sum, judge) => sum + judge.answered, 0);
    progress = { answered, of: results.judges.reduce((sum, judge) => sum + judge.of, 0) };
    showProgress();
    const fetched = (name, path) => doing(async () => save(name, await source.text(path), "application/x-ndjson"));
    const { agreement, position, consistency } = results;
    const views = [
      el(
        "nav",
        {},
        el("button", { type: "button", id: "refresh", onclick: () => doing(showResults) }, "Refresh"),
        el("button", { type: "button", onclick: () => save("results.md", markdown, "text/markdown") }, "Save as Markdown"),
        el("button", { type: "button", onclick: () => save("results.json", JSON.stringify(results, null, 2), "application/json") }, "Save as JSON"),
        el("button", { type: "button", onclick: () => fetched("judgements.jsonl", "/api/export?format=judgements") }, "Save judgements"),
        el("button", { type: "button", onclick: () => fetched("preferences.jsonl", "/api/export?format=preferences") }, "Save preferences (DPO)"),
      ),
      table(
        "Systems",
        ["rank", "system", "won", "lost", "tied", "both bad", "win rate", "interval", "Bradley-Terry", "Elo"],
        results.systems.map((s) => [s.rank, s.system, s.wins, s.losses, s.ties, s.both_bad, percent(s.win_rate), METHODS[s.win_rate.method], rating(s.bradley_terry), rating(s.elo)]),
      ),
      table(
        "Pairs",
        ["first", "second", "first won", "second won", "tied", "both bad", "win rate of first", "interval"],
        results.pairs.map((p) => [p.first, p.second, p.first_wins, p.second_wins, p.ties, p.both_bad, percent(p.win_rate), METHODS[p.win_rate.method]]),
      ),
      table(
        "Criteria",
        ["criterion", "system", "scores", "mean"],
        results.criteria.map((c) => [c.criterion, c.system, c.scores, c.mean.value.toFixed(2) + " (" + c.mean.interval.map((bound) => bound.toFixed(2)).join(" to ") + ")"]),
      ),
      table(
        "Judges",
        ["judge", "answered", "repeats", "same again", "reversed"],
        results.judges.map((j, i) => [j.judge, j.answered + " of " + j.of, consistency.judges[i].repeats, consistency.judges[i].same, consistency.judges[i].reversed]),
      ),
      table("Left out", ["judge", "judgements"], results.excluded.map((e) => [e.judge, e.judgements])),
      table("Agreement of judges", ["judge", "judge", "same", "Cohen's kappa"], agreement.judges.map((p) => [p.first, p.second, p.same + " of " + p.shared, decimal(p.cohen_kappa)])),
      table("Together", ["Krippendorff's alpha", "ordinal alpha", "Fleiss' kappa", "left side chosen", "same preference again", "answers changed", "equal outputs not shown"], [
        [decimal(agreement.alpha), decimal(agreement.ordinal_alpha), decimal(agreement.fleiss_kappa), percent(position.left_share), percent(consistency.same), results.changed, results.identical_pairs],
      ]),
    ];
    main.replaceChildren(...views.filter(Boolean));
    main.dataset.task = "results";
  }

  async function start() {
    if (!data && !location.hash) {
      say("This page needs the whole link that you were given, with the part behind the #.", true);
      return;
    }
    const session = await source.session();
    study = session.study;
    byId("title").textContent = study.title;
    document.title = study.title;
    owner = session.role === "owner";
    byId("who").textContent = owner ? "results" : session.name;
    if (owner) await showResults();
    else show(await source.next(null));
  }

  window.addEventListener("hashchange", () => location.reload());
  doing(start);
})();
