// What a page cannot do without a script: what stands behind # in a link, and passkeys.
"use strict";

// The secret of a link goes into its form, and out of the address.
for (const form of document.querySelectorAll("form[data-fragment]")) {
  const secret = location.hash.slice(1);
  if (secret) {
    form.elements.secret.value = secret;
    history.replaceState(null, "", location.pathname);
  }
}

const passkeys = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;

// Asking the API as this page; the browser's cookie goes along.
async function call(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.message || answer.statusText);
  return data;
}

function publicKey(text) {
  const options = JSON.parse(text);
  return options.publicKey || options;
}

// A passkey proves who one is: its answer goes into the form, which is then sent as any other.
async function prove(form) {
  let options = form.dataset.options;
  if (form.dataset.passkey === "begin") {
    const begun = await call("/gestor.v1.SessionService/BeginPasskeySession", {});
    form.elements.pending.value = begun.pending;
    options = begun.passkeyOptions;
  }
  const proof = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey(options)) });
  form.elements.assertion.value = JSON.stringify(proof.toJSON());
  form.submit();
}

// A new passkey: the server says what it needs, the browser makes it, the server keeps it.
async function create(form) {
  const send = async (fields) => {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(fields) });
    const data = await answer.json();
    if (data.reason === "step_up") location.assign("/again?next=%2F");
    if (!answer.ok) throw new Error([data.error, data.fix].filter(Boolean).join("; "));
    return data;
  };
  const begun = await send({});
  const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey(begun.options)) });
  const kept = await send({ pending: begun.pending, credential: JSON.stringify(made.toJSON()), name: form.elements.name.value });
  if (kept.codes && kept.codes.length) {
    const codes = document.querySelector("[data-codes]");
    codes.querySelector("pre").textContent = kept.codes.join("\n");
    codes.hidden = false;
    document.querySelector("[data-none]")?.remove();
    form.hidden = true;
    return;
  }
  location.reload();
}

function say(form, text) {
  let note = form.querySelector(".note");
  if (!note) {
    note = document.createElement("p");
    note.className = "error";
    note.setAttribute("role", "alert");
    form.append(note);
  }
  note.hidden = false;
  note.textContent = text;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!passkeys) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await (form.dataset.passkey === "create" ? create(form) : prove(form));
    } catch (error) {
      say(form, error.message);
    }
    button.disabled = false;
  });
}
