// Uploads with a bar for each file, and the mask's opacity. Everything else is htmx.
"use strict";

const AT_ONCE = 3;

function cookieToken(form) {
  return form.querySelector("[name=csrfmiddlewaretoken]").value;
}

function send(form, url, file, onProgress) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const data = new FormData();
    data.append("file", file, file.name);
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", cookieToken(form));
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    request.addEventListener("loadend", () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* not JSON: a proxy's page */ }
      resolve({ status: request.status, body });
    });
    request.send(data);
  });
}

function reason(answer) {
  if (answer.body.error) return answer.body.error.message;
  return answer.status ? `The server answered ${answer.status}.` : "The connection was lost.";
}

function row(list, file) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.textContent = file.name;
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  const said = document.createElement("span");
  item.append(name, bar, said);
  list.append(item);
  return { item, bar, said };
}

async function uploadOne(form, list, file) {
  const { item, bar, said } = row(list, file);
  const answer = await send(form, form.dataset.upload, file, (share) => { bar.value = share; });
  bar.value = 1;
  if (answer.status === 201 || answer.status === 200) {
    const link = document.createElement("a");
    link.href = answer.body.url;
    link.textContent = answer.body.created ? "stored" : "is here already";
    said.append(link);
    document.body.dispatchEvent(new Event("uploaded"));
  } else {
    item.className = "refused";
    said.textContent = reason(answer);
  }
}

async function uploadAll(form, files) {
  const list = document.getElementById("uploads");
  const waiting = [...files];
  const lane = async () => { while (waiting.length) await uploadOne(form, list, waiting.shift()); };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function searchWith(form, file) {
  const status = document.getElementById("query-status");
  status.textContent = "Uploading…";
  const answer = await send(form, form.action, file, (share) => {
    status.textContent = `Uploading ${Math.round(share * 100)} %`;
  });
  if (answer.body.url) window.location = answer.body.url;
  else status.textContent = reason(answer);
}

function take(form, files) {
  if (!files.length) return;
  if (form.dataset.query) searchWith(form, files[0]);
  else uploadAll(form, files);
}

for (const form of document.querySelectorAll(".drop")) {
  const input = form.querySelector("input[type=file]");
  input.addEventListener("change", () => { take(form, input.files); });
  for (const kind of ["dragenter", "dragover"]) {
    form.addEventListener(kind, (event) => { event.preventDefault(); form.classList.add("over"); });
  }
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    take(form, event.dataTransfer.files);
  });
}

document.addEventListener("input", (event) => {
  if (event.target.id === "opacity") {
    document.getElementById("mask").style.opacity = event.target.value / 100;
  }
});
