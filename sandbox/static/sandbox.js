// Buttons and forms post JSON to the sandbox's API; the page refreshes the parts that changed.
"use strict";

const REFRESH_MS = 1500;

function tell(text, bad) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.className = bad ? "shown bad" : "shown";
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { toast.className = ""; }, 4000);
}

async function post(url, body) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const said = await answer.json().catch(() => null);
  if (!answer.ok) {
    tell(typeof said?.detail === "string" ? said.detail : "That was refused.", true);
  } else if (said?.link) {
    tell(said.status === null ? `Leads out of the product: ${said.link}`
      : `Answered ${said.status}${said.location ? " → " + said.location : ""}`);
  }
  await refresh();
  return answer.ok;
}

function bodyOf(element) {
  const { post: _, message: __, ...fields } = element.dataset;
  return Object.keys(fields).length ? fields : undefined;
}

async function refresh() {
  let fresh;
  try {
    const answer = await fetch(location.href);
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // the sandbox is restarting; the next round finds it
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (next && next.outerHTML !== part.shown) replace(part, next);
  }
}

// Replaces a part, but neither what is being typed nor where one has scrolled to.
function replace(part, next) {
  const shown = next.outerHTML;
  if (part.shown === undefined && part.outerHTML === shown) { part.shown = shown; return; }
  const typed = [...part.querySelectorAll("[data-keep]")].map((input) =>
    ({ keep: input.dataset.keep, value: input.value, focused: input === document.activeElement }));
  const scrolled = new Map([...scrollers(part)].map((box) => [box.dataset.scroll, box]
    ).map(([name, box]) => [name, { top: box.scrollTop, end: atEnd(box) }]));
  part.replaceWith(next);
  next.shown = shown;
  for (const { keep, value, focused } of typed) {
    const input = next.querySelector(`[data-keep="${CSS.escape(keep)}"]`);
    if (!input) continue;
    input.value = value;
    if (focused) input.focus();
  }
  for (const box of scrollers(next)) {
    const before = scrolled.get(box.dataset.scroll);
    box.scrollTop = before && !before.end ? before.top : endOf(box);
  }
}

function scrollers(part) {
  return [part, ...part.querySelectorAll("[data-scroll]")].filter((box) => box.dataset.scroll);
}

// A conversation is read at its end, a list from its top.
function endOf(box) { return box.classList.contains("bubbles") ? box.scrollHeight : 0; }
function atEnd(box) {
  return box.classList.contains("bubbles")
    ? box.scrollTop + box.clientHeight >= box.scrollHeight - 8
    : box.scrollTop === 0;
}

document.addEventListener("click", async (event) => {
  const element = event.target.closest("button[data-post], a[data-post]");
  if (!element) return;
  event.preventDefault();
  element.disabled = true;
  await post(element.dataset.post, bodyOf(element));
  element.disabled = false;
  if (element.href) location.href = element.href;
});

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-post]");
  if (!form) return;
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(form));
  if (event.submitter?.name) fields[event.submitter.name] = event.submitter.value;
  const input = form.querySelector("[data-keep]");
  if (!event.submitter?.name) input.value = "";
  await post(form.dataset.post, fields);
});

// The client's site: what the product tells this person's page, live.
function visit(site) {
  const at = site.dataset.site;
  const shown = new Set();
  const tell_deed = (placed, deed, more) => fetch(`${at}/site/${placed.id}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ deed, ...more }),
  });
  const impress = async (placed) => {
    if (shown.has(placed.impression)) return;
    shown.add(placed.impression);
    await tell_deed(placed, "impressions", { impression: placed.impression });
  };
  const fill = (box, placed) => {
    const title = document.createElement("strong");
    title.textContent = placed.title;
    const body = document.createElement("p");
    body.textContent = placed.body;
    const actions = document.createElement("div");
    actions.className = "actions";
    const add = (name, plain, deed, more) => {
      const button = document.createElement("button");
      button.textContent = name;
      if (plain) button.className = "plain";
      button.addEventListener("click", async () => {
        const answer = await tell_deed(placed, deed, more);
        const said = await answer.json().catch(() => null);
        if (!answer.ok) tell(said?.detail ?? "That was refused.", true);
        else if (said?.link) tell(`Answered ${said.status}${said.location ? " → " + said.location : ""}`);
        box.close?.();
      });
      actions.append(button);
    };
    if (placed.link) add(placed.button ?? "Open", false, "clicked", { link: placed.link });
    add("Dismiss", true, "dismissed");
    box.replaceChildren(title, body, actions);
    box.dataset.message = placed.id;
  };
  const show = ({ popup, may_stay, banners }) => {
    const box = site.querySelector("[data-popup]");
    if (box.open && !may_stay.includes(box.dataset.message)) box.close();
    if (popup && !box.open) { fill(box, popup); box.show(); impress(popup); }
    site.querySelector("[data-banners]").replaceChildren(...banners.map((placed) => {
      const banner = document.createElement("article");
      banner.className = "banner";
      fill(banner, placed);
      return banner;
    }));
    for (const banner of banners) if (!shown.has(banner.id)) { shown.add(banner.id); impress(banner); }
    site.querySelector("[data-nothing]").hidden = box.open || banners.length > 0;
  };
  const open = () => {
    const stream = new EventSource(`${at}/live`);
    stream.addEventListener("placements", (event) => show(JSON.parse(event.data)));
    stream.addEventListener("message", (event) => {
      if (event.data) tell(`New in the inbox: ${JSON.parse(event.data).title}`);
    });
    const again = () => { stream.close(); setTimeout(open, REFRESH_MS); };
    stream.addEventListener("over", again);
    stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) again(); });
  };
  open();
}

for (const site of document.querySelectorAll("[data-site]")) visit(site);
for (const box of scrollers(document.body)) box.scrollTop = endOf(box);
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
