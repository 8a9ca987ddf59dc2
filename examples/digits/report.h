/* report.h - the page of --report: what LoRA did to a network of digits, in pictures. */
#ifndef DIGITS_REPORT_H
#define DIGITS_REPORT_H

#include "examples/digits/lora.h"

/* One self-contained HTML file (inline SVG, no network, light and dark, readable on a phone). It
 * is either complete or not there. Errors: LK_EIO, LK_EMEMORY. */
bool digits_report(const DigitsOutcome *o, const char *path, Error *err);

#endif
