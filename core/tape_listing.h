/* tape_listing.h - a tape's records and leaves with numbers and labels, as lk_tape_print and
 * lk_tape_dot show them. No part of the interface. */
#ifndef LK_TAPE_LISTING_H
#define LK_TAPE_LISTING_H

#include "core/tape_parts.h"

enum {
    LK_LABEL_TEXT = 320,
    LK_VALUES_SHOWN = 16,  /* elements of a tensor whose values are shown */
    LK_VALUES_TEXT = 2048, /* as many elements, with brackets and indented lines */
};

/* The arrays are temporary memory of the tape. */
typedef struct TapeListing {
    Tape *t;
    int records, leaves;
    const Node **record;   /* the oldest first; record[0] has the number 1 */
    const Tensor **leaf;   /* inputs that no record made, in the order of their first use */
    const Storage **saved; /* room for the storages that backward reads */
    ArenaMark memory;
} TapeListing;

/* Begins a listing, which the caller ends. False without memory; the reason is on t. */
bool lk__listing_begin(TapeListing *l, Tape *t);
void lk__listing_end(TapeListing *l);

/* Return the number of the record that made x (0: none), and that of a leaf. Both begin at 1. */
int lk__record_number(const TapeListing *l, const Tensor *x);
int lk__leaf_number(const TapeListing *l, const Tensor *x);

/* Writes the label of an input: its name, or the number of its record, or "leaf2". In a place, a
 * name that begins with the path of the place goes without it. */
void lk__label(const TapeListing *l, const Tensor *x, const TapePlace *place,
               char text[LK_LABEL_TEXT]);
/* Says what a leaf is: "parameter", "frozen", "leaf", "constant", or "stale". */
const char *lk__leaf_kind(const Tensor *x);
/* Writes where a record was made, "layers.2 (Linear)", or nothing. */
void lk__place_text(const TapePlace *place, char text[LK_LABEL_TEXT]);

/* Count the bytes of the tape's memory that the backward of one record, or of all, reads. */
size_t lk__saved_bytes(const TapeListing *l, const Node *n);
size_t lk__saved_bytes_of_all(const TapeListing *l);

/* Writes the elements as lk_print does. Returns false, and writes "", for a tensor that is NULL,
 * stale or larger than LK_VALUES_SHOWN. */
bool lk__values_text(const Tensor *x, int indent, char text[LK_VALUES_TEXT]);

#endif
