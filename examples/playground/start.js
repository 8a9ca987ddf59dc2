/* start.js - unpacks the page's program, which the page holds as gzip in base64, and runs it. */
"use strict";

unpack(document.getElementById("packed").textContent).then(bytes => {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(bytes);
  document.body.append(script);
}).catch(error => { /* an old browser; the table of texts is in the program */
  const alert = document.getElementById("alert");
  alert.textContent = error.message;
  alert.hidden = false;
});
