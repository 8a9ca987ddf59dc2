/* start.js - unpacks the page's style and program, which the page holds as gzip in base64. */
"use strict";

async function insert(id, tag) {
  const bytes = await unpack(document.getElementById(id).textContent);
  const element = document.createElement(tag);
  element.textContent = new TextDecoder().decode(bytes);
  document.body.append(element);
}

insert("style", "style").then(() => insert("packed", "script")).catch(error => {
  const alert = document.getElementById("alert"); /* an old browser */
  document.body.style.visibility = "visible";
  alert.textContent = error.message;
  alert.hidden = false;
});
