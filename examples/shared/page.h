/* page.h - the beginning and the end of an HTML page that needs no network: the form of every
 * --report. Between them come headings, tables and the drawings of examples/shared/chart.h, to
 * which the page gives colours and sizes. */
#ifndef PAGE_H
#define PAGE_H

#include <stdio.h>

void page_begin(FILE *out, const char *title);
void page_end(FILE *out);

#endif
