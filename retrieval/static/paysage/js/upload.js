// Uploads: many at once, a bar for each and one for all, going on after a break or a closed tab.
import { ask, csrf, el, notice, t, tn } from "./common.js";

const AT_ONCE = 3;
const PART_BYTES = 2 * 1024 * 1024;
const form = document.getElementById("drop");
const list = document.getElementById("uploads");
const collection = form.dataset.collection;

// --- what is kept over a closed tab: the files themselves ----------------------------------------

const store = new Promise((done) => {
  const request = indexedDB.open("paysage-uploads", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("files", { autoIncrement: true });
  request.onsuccess = () => done(request.result);
  request.onerror = () => done(null); // a private window: uploads work, but are not kept
});

async function kept(mode, act) {
  const database = await store;
  if (!database) return undefined;
  return new Promise((done) => {
    const request = act(database.transaction("files", mode).objectStore("files"));
    request.onsuccess = () => done(request.result);
    request.onerror = () => done(undefined);
  });
}

/** [key, record] of each file of this collection that is kept now. */
async function leftBehind() {
  const database = await store;
  const found = [];
  if (!database) return found;
  const cursor = database.transaction("files").objectStore("files").openCursor();
  await new Promise((done) => {
    cursor.onsuccess = () => {
      const at = cursor.result;
      if (!at) { done(); return; }
      if (at.value.collection === collection) found.push([at.key, at.value]);
      at.continue();
    };
    cursor.onerror = done;
  });
  return found;
}

const left = leftBehind();
const keep = (record) => kept("readwrite", (files) => files.add(record));
const update = (key, record) => kept("readwrite", (files) => files.put(record, key));
const forget = (key) => kept("readwrite", (files) => files.delete(key));

// --- one file ------------------------------------------------------------------------------------

const jobs = [];
let paused = false;

class Job {
  constructor(file, key = null, url = null) {
    Object.assign(this, { file, key, url, state: "waiting", share: 0 });
    this.bar = el("progress", { max: 1, value: 0, "aria-label": t("Upload of %s", file.name) });
    this.said = el("span", {}, t("waits"));
    this.again = el("button", { type: "button", class: "quiet small", hidden: true, onclick: () => this.retry() }, t("Try again"));
    this.item = el("li", {}, el("span", { title: file.name }, file.name), this.bar, this.said, this.again);
    list.append(this.item);
  }

  async send() {
    this.state = "sending";
    this.said.textContent = t("is sent");
    this.again.hidden = true;
    this.item.classList.remove("refused");
    try {
      await this.transfer();
    } catch (error) {
      this.failed(error);
    }
    next();
  }

  async transfer() {
    const metadata = { filename: this.file.name, collection, sha256: await digest(this.file) };
    await new Promise((done, fail) => {
      this.tus = new window.tus.Upload(this.file, {
        endpoint: form.dataset.uploads,
        uploadUrl: this.url,
        chunkSize: PART_BYTES,
        retryDelays: [0, 1000, 3000, 8000, 20_000],
        storeFingerprintForResuming: false,
        metadata,
        headers: { "X-CSRFToken": csrf(), Accept: "application/json" },
        onProgress: (sent, all) => this.progress(sent / all),
        onUploadUrlAvailable: () => {
          this.url = this.tus.url;
          if (this.key !== null) update(this.key, { file: this.file, collection, url: this.url });
        },
        // What the server refuses for a reason is not sent again; a lost connection is.
        onShouldRetry: (error) => {
          const status = error.originalResponse?.getStatus() ?? 0;
          return status === 0 || status === 423 || status === 409 || status >= 500;
        },
        onAfterResponse: (_, answer) => { this.image = answer.getHeader("Paysage-Image") ?? this.image; this.created = (answer.getHeader("Paysage-Created") ?? "1") === "1"; },
        onSuccess: done,
        onError: fail,
      });
      this.tus.start();
    });
    if (!this.image) {
      const found = await ask(this.url);
      this.image = found.image;
      this.created = found.created;
    }
    this.done();
  }

  progress(share) {
    this.share = share;
    this.bar.value = share;
    total();
  }

  done() {
    this.state = "done";
    this.progress(1);
    this.said.replaceChildren(el("a", { href: `/images/${this.image}` },
      this.created ? t("stored") : t("is here already")));
    if (this.key !== null) forget(this.key);
    document.dispatchEvent(new CustomEvent("paysage:uploaded", { detail: { id: this.image, created: this.created } }));
  }

  failed(error) {
    if (this.state === "paused") return;
    const answer = error.originalResponse;
    const status = answer?.getStatus() ?? 0;
    let said = status ? t("The server answered %s.", status) : t("The connection was lost.");
    try { said = JSON.parse(answer.getBody()).error.message; } catch { /* a proxy's page, or no answer */ }
    const gone = [404, 410].includes(status);
    if (gone) this.url = null;
    // Refused for what it is: it would be refused again.
    this.state = status >= 400 && status < 500 && !gone ? "refused" : "broken";
    this.said.textContent = said;
    this.item.classList.add("refused");
    this.again.hidden = this.state === "refused";
    if (this.state === "refused" && this.key !== null) forget(this.key);
    total();
  }

  pause() {
    if (this.state !== "sending") return;
    this.state = "paused";
    this.said.textContent = t("paused");
    this.tus?.abort();
  }

  retry() {
    this.state = "waiting";
    next();
  }
}

async function digest(file) {
  if (!window.crypto?.subtle) return ""; // not on a secure origin: the parts' lengths still count
  const found = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(found)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// --- all of them -----------------------------------------------------------------------------------

function next() {
  total();
  if (paused) return;
  const sending = jobs.filter((job) => job.state === "sending").length;
  for (const job of jobs.filter((one) => one.state === "waiting").slice(0, AT_ONCE - sending)) job.send();
}

const started = { at: 0, bytes: 0 };

function total() {
  document.getElementById("uploading").hidden = !jobs.length;
  const size = jobs.reduce((sum, job) => sum + job.file.size, 0);
  const sent = jobs.reduce((sum, job) => sum + job.file.size * (job.state === "refused" ? 1 : job.share), 0);
  document.getElementById("upload-bar").value = size ? sent / size : 0;
  const count = (state) => jobs.filter((job) => job.state === state).length;
  const words = [t("%s of %s uploaded", count("done"), jobs.length)];
  if (count("refused")) words.push(t("%s refused", count("refused")));
  if (count("broken")) words.push(t("%s broken off", count("broken")));
  const left = count("waiting") + count("sending") + count("paused");
  if (left && sent > started.bytes && Date.now() - started.at > 2000 && !paused) {
    const seconds = ((size - sent) / (sent - started.bytes)) * ((Date.now() - started.at) / 1000);
    words.push(t("about %s s left", Math.ceil(seconds)));
  }
  document.getElementById("upload-total").textContent = words.join(" · ");
  document.getElementById("upload-pause").hidden = !left;
}

async function add(files) {
  const some = [...files].filter((file) => file.size || file.type || /\.(jpe?g|png|webp)$/i.test(file.name));
  if (!jobs.some((job) => job.state === "sending")) Object.assign(started, { at: Date.now(), bytes: 0 });
  for (const file of some) {
    const job = new Job(file);
    jobs.push(job);
    // Only once it is known what a closed tab left: else these would be taken for that too.
    left.then(() => keep({ file, collection, url: null })).then((key) => {
      job.key = key ?? null;
      if (["done", "refused"].includes(job.state) && key !== undefined) forget(key);
      else if (job.url && key !== undefined) update(key, { file, collection, url: job.url });
    });
  }
  next();
}

document.getElementById("upload-pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.textContent = paused ? t("Go on") : t("Pause");
  for (const job of jobs) {
    if (paused) job.pause();
    else if (job.state === "paused") job.state = "waiting";
  }
  next();
});

document.getElementById("upload-clear").addEventListener("click", () => {
  for (const job of jobs.filter((one) => ["done", "refused", "broken"].includes(one.state))) {
    job.item.remove();
    if (job.key !== null) forget(job.key);
    jobs.splice(jobs.indexOf(job), 1);
  }
  total();
});

// --- where files come from ---------------------------------------------------------------------------

for (const input of form.querySelectorAll("input[type=file]")) {
  const take = () => {
    const some = input.dataset.folder === undefined ? input.files : pictures(input.files);
    add(some);
    input.value = "";
  };
  input.addEventListener("change", take);
  if (input.files.length) take(); // chosen before this script had come
}

function pictures(files) {
  return [...files].filter((file) => /\.(jpe?g|png|webp)$/i.test(file.name));
}

/** The files of a drop, folders walked through. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  async function walk(entry, inFolder) {
    if (entry.isFile) {
      const file = await new Promise((done, fail) => { entry.file(done, fail); });
      if (!inFolder || pictures([file]).length) found.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => { reader.readEntries(done, fail); });
      if (!some.length) return;
      for (const one of some) await walk(one, true);
    }
  }
  for (const entry of entries) await walk(entry, false);
  return found;
}

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
let depth = 0;
document.addEventListener("dragenter", (event) => {
  if (carriesFiles(event)) { depth += 1; document.body.classList.add("over"); }
});
document.addEventListener("dragleave", (event) => {
  if (carriesFiles(event)) { depth -= 1; document.body.classList.toggle("over", depth > 0); }
});
document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
document.addEventListener("drop", async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("over");
  add(await dropped(event.dataTransfer));
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) add(files.map((file) => new File([file], file.name || t("pasted picture"), { type: file.type })));
});

// --- what a closed tab left ------------------------------------------------------------------------

left.then((found) => {
  for (const [key, value] of found) jobs.push(new Job(value.file, key, value.url));
  if (found.length) {
    notice(tn("%s upload goes on.", "%s uploads go on.", found.length));
    next();
  }
});
