/* tokenizer_ids.c - a growing array of token ids. */
#include <string.h>

#include "core/memory.h"
#include "data/tokenizer_bpe.h"

bool lk__token_ids_reserve(TokenIds *ids, size_t more)
{
    if ((size_t)(ids->room - ids->count) >= more) return true;
    /* LK_TEXT_MAX keeps `more` far below an overflow */
    size_t room = (size_t)ids->count + more;
    if (room < 2 * (size_t)ids->room) room = 2 * (size_t)ids->room;
    if (room < 64) room = 64;
    int64_t *items = room <= SIZE_MAX / sizeof *items ? lk_mem_alloc(room * sizeof *items) : NULL;
    if (!items) return false;
    if (ids->count > 0) memcpy(items, ids->items, (size_t)ids->count * sizeof *items);
    lk_mem_free(ids->items);
    ids->items = items;
    ids->room = (int64_t)room;
    return true;
}

void lk_token_ids_free(TokenIds *ids)
{
    if (!ids) return;
    lk_mem_free(ids->items);
    lk_mem_free(ids->scratch);
    *ids = (TokenIds){ 0 };
}

bool lk_token_ids_add(TokenIds *ids, int64_t id, Error *err)
{
    if (!ids) return lk_error_set(err, LK_EVALUE, "lk_token_ids_add: the list is NULL");
    if (!lk__token_ids_reserve(ids, 1))
        return lk_error_set(err, LK_EMEMORY, "lk_token_ids_add: no memory");
    ids->items[ids->count++] = id;
    return true;
}
