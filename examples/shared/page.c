/* page.c - the style of all pages: light and dark, for a phone and a desktop. */
#include "examples/shared/page.h"

/* A table of many columns is in a div.wide: on a phone it is moved sideways there, under its first
 * column. Text in a drawing shrinks with the drawing. On a phone the drawing is half as wide, so
 * the letters get a larger size. Two sections in a div.pair stand side by side where there is
 * room; a page with such pairs takes the width of a desktop. */
static const char style[] =
    ":root{--paper:#fff;--ink:#1c2733;--soft:#5b6775;--line:#d9dfe5;--card:#f5f7f9;--ok:#1b7f4b;--"
    "bad:#c0392b;"
    "--c0:#7d8996;--c1:#0072b2;--c2:#c47f00}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#12171d;--ink:#e7ecf1;--soft:#9aa7b4;--line:#"
    "2c353f;"
    "--card:#1a2129;--ok:#5fd39a;--bad:#ff8a7a;--c0:#8593a0;--c1:#56b4e9;--c2:#f0b429}}\n"
    "*{box-sizing:border-box}body{margin:0 "
    "auto;max-width:46rem;padding:1.2rem;background:var(--paper);"
    "color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}\n"
    "h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.2rem 0 "
    ".4rem}h3{font-size:1rem;margin:.2rem 0}"
    "p{margin:.4rem 0}.soft{color:var(--soft)}\n"
    "svg{width:100%;height:auto;display:block;margin:.4rem 0}svg "
    "text{fill:var(--soft);font-size:14px}"
    ".y{text-anchor:end;dominant-baseline:central}.x{text-anchor:middle;dominant-baseline:hanging}"
    ".name{text-anchor:middle;transform:translateY(-18px)}.grid{stroke:var(--line)}"
    "@media(max-width:36rem){svg text{font-size:24px}.name{transform:none}}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2rem .45rem;text-align:right;border-bottom:1px solid "
    "var(--line)}td{white-space:nowrap}"
    "th{vertical-align:bottom}th:first-child,td:first-child{text-align:left}"
    ".learned{background:var(--card);font-weight:bold}.wide{overflow-x:auto}.wide "
    "table{font-size:.85rem}"
    ".wide td,.wide th{padding:.2rem .3rem}"
    ".wide th:first-child,.wide td:first-child{position:sticky;left:0;background:var(--paper)}\n"
    ".legend span{margin-right:1rem;white-space:nowrap}.legend "
    "i{display:inline-block;width:.8em;height:.8em;"
    "margin-right:.35em;border-radius:2px}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(76px,1fr));gap:.5rem}"
    ".cards "
    "figure{margin:0;padding:.4rem;background:var(--card);border-radius:6px;text-align:center;"
    "font-size:.85rem}\n"
    ".digit{width:56px;height:56px;image-rendering:pixelated;border-radius:3px}"
    ".map{width:100%;height:auto;image-rendering:pixelated;border:1px solid "
    "var(--line)}.maps{display:grid;gap:1.2rem;"
    "grid-template-columns:repeat(auto-fill,minmax(14rem,1fr))}\n"
    ".pair{display:grid;gap:0 3rem}.pair section{min-width:0}"
    "@media(min-width:60rem){body:has(.pair){max-width:82rem}.pair{grid-template-columns:1fr 1fr}"
    ".pair svg text{font-size:20px}.pair .name{transform:none}}\n"
    "ul{list-style:none;margin:.4rem 0;padding:0}li{padding:.2rem 0;border-bottom:1px solid "
    "var(--line)}"
    ".ok{color:var(--ok)}.bad{color:var(--bad)}\n";

void page_begin(FILE *out, const char *title)
{
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta "
            "name=\"color-scheme\" "
            "content=\"light dark\">\n<style>\n%s</style></head><body>\n",
            title, style);
}

void page_end(FILE *out) { fputs("</body></html>\n", out); }
