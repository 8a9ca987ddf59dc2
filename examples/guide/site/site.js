/* The menu of a phone, and the search: names and headings first, then words of the text. PAGES is
 * a list of [name, address, page, text] from search.js. */
"use strict";
(function () {
    var root = document.currentScript.dataset.root;
    var button = document.getElementById("menu-button");
    var input = document.getElementById("search");
    var list = document.getElementById("found");
    var chosen = -1;

    document.documentElement.classList.add("js");
    button.addEventListener("click", function () {
        var open = document.body.classList.toggle("menu-open");
        button.setAttribute("aria-expanded", String(open));
    });
    var current = document.querySelector("#menu [aria-current]");
    if (current && current.offsetTop > 300) {
        document.getElementById("menu").scrollTop = current.offsetTop - 200;
    }

    /* How well an entry fits all words; 0: it does not. */
    function score(entry, words) {
        var name = entry[0].toLowerCase(), text = entry[3].toLowerCase(), sum = 0;
        for (var i = 0; i < words.length; i++) {
            var at = name.indexOf(words[i]);
            if (name === words[i] || name === "lk_" + words[i]) sum += 100;
            else if (at === 0 || name.indexOf("lk_" + words[i]) === 0) sum += 40;
            else if (at > 0) sum += 20;
            else if (text.indexOf(words[i]) >= 0) sum += 2;
            else return 0;
        }
        return sum - name.length / 100;
    }

    function show() {
        var words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        list.textContent = "";
        chosen = -1;
        list.hidden = words.length === 0;
        if (list.hidden) return;
        var found = PAGES.map(function (e) { return [score(e, words), e]; })
            .filter(function (f) { return f[0] > 0; })
            .sort(function (a, b) { return b[0] - a[0]; })
            .slice(0, 12);
        found.forEach(function (f) {
            var item = document.createElement("li"), link = document.createElement("a");
            var name = document.createElement("b"), text = document.createElement("span");
            link.href = root + f[1][1];
            name.textContent = f[1][0];
            text.textContent = excerpt(f[1], words[0]);
            link.append(name, text);
            item.append(link);
            list.append(item);
        });
        if (!found.length) {
            var none = document.createElement("li");
            none.textContent = "Nothing found";
            list.append(none);
        }
    }

    function excerpt(entry, word) {
        var at = entry[3].toLowerCase().indexOf(word);
        var from = at > 50 ? entry[3].indexOf(" ", at - 40) : 0;
        var page = entry[2] && entry[2] !== entry[0] ? entry[2] + ": " : "";
        return page + (from > 0 ? "…" : "") + entry[3].slice(from, from + 110);
    }

    input.addEventListener("input", show);
    input.addEventListener("keydown", function (e) {
        var links = list.querySelectorAll("a");
        if (e.key === "Enter" && links.length) {
            location.href = links[Math.max(chosen, 0)].href;
            list.hidden = true;
        } else if (e.key === "Escape") {
            input.value = "";
            show();
        } else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
            e.preventDefault();
            if (!links.length) return;
            if (chosen >= 0) links[chosen].classList.remove("chosen");
            chosen = (chosen + (e.key === "ArrowDown" ? 1 : links.length - (chosen < 0 ? 0 : 1))) %
                links.length;
            links[chosen].classList.add("chosen");
        }
    });
    document.addEventListener("keydown", function (e) {
        if (e.key === "/" && document.activeElement !== input) {
            e.preventDefault();
            input.focus();
        }
    });
    document.addEventListener("click", function (e) {
        if (!e.target.closest(".search")) list.hidden = true;
    });
})();
