// Says what is in the way where the page cannot run at all; else starts it. It is a script of the
// old kind, since browsers load no module over file://.
"use strict";

(() => {
  const fail = (text) => {
    document.getElementById("status").dataset.state = "failed";
    document.getElementById("status-text").textContent = text;
  };
  if (location.protocol === "file:") {
    fail(
      "Browsers load no model from a file. Serve this folder, for example with " +
        "“python3 -m http.server” in it, and open http://localhost:8000.",
    );
  } else if (typeof WebAssembly !== "object") {
    fail("This browser has no WebAssembly, or it is switched off: the model runs in it.");
  } else {
    import("./app.js").catch((error) => fail(`This page is damaged or not whole: ${error.message}`));
  }
})();
