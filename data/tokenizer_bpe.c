/* tokenizer_bpe.c - byte-pair encoding. A word starts as the tokens of its bytes. Then the
 * neighbours with the merge of the lowest rank are merged, the leftmost first, until no merge is
 * possible (Sennrich et al. 2016, in GPT-2's byte-level form).
 *
 * Most words of a text are one token, and merging would end with it. lk__bpe_finish finds these
 * tokens beforehand, so that such words are only looked up. The others are merged with a heap, so
 * that n bytes take n log n steps. */
#include "data/tokenizer_bpe.h"

#include <string.h>

#include "core/memory.h"
#include "data/utf8.h"

/* ---- spelling ------------------------------------------------------------------------------- */

/* Bytes that are printable in Latin-1 are spelled as themselves; the other 68, in order, as
 * U+0100, U+0101, … */
static bool is_plain(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
           (byte >= 0xAE && byte <= 0xFF);
}

/* The byte that a character stands for; -1: none. */
static int byte_of(uint32_t code)
{
    if (code < 256) return is_plain(code) ? (int)code : -1;
    if (code < 256 + 33) return (int)code - 256;             /* 0x00 … 0x20 */
    if (code < 256 + 67) return (int)code - 256 - 33 + 0x7F; /* 0x7F … 0xA0 */
    return code == 256 + 67 ? 0xAD : -1;
}

bool lk__bpe_unspell(const char *spelling, size_t length, unsigned char *bytes, size_t *size)
{
    size_t n = 0;
    for (size_t at = 0; at < length; n++) {
        uint32_t code;
        at += lk__utf8((const unsigned char *)spelling + at, length - at, &code);
        int byte = byte_of(code);
        if (byte < 0) return false;
        bytes[n] = (unsigned char)byte;
    }
    *size = n;
    return true;
}

/* ---- tables --------------------------------------------------------------------------------- */

static uint32_t table_size(int32_t entries)
{
    uint32_t size = 4;
    while (size / 2 < (uint32_t)entries) size *= 2; /* at most 2^32 / 2, since entries < 2^30 */
    return size;
}

bool lk__bpe_reserve(Bpe *bpe, int32_t tokens, size_t names, int32_t merges)
{
    uint32_t slots = table_size(tokens), pairs = table_size(merges);
    *bpe = (Bpe){ .count = tokens, .slot_mask = slots - 1, .merge_mask = pairs - 1 };
    bpe->tokens = lk_mem_calloc((size_t)tokens, sizeof *bpe->tokens);
    bpe->names = lk_mem_alloc(names);
    bpe->slots = lk_mem_calloc(slots, sizeof *bpe->slots);
    bpe->merges = lk_mem_calloc(pairs, sizeof *bpe->merges);
    if (!bpe->tokens || !bpe->names || !bpe->slots || !bpe->merges) return false;
    for (uint32_t i = 0; i < slots; i++) bpe->slots[i].id = -1;
    for (uint32_t i = 0; i < pairs; i++) bpe->merges[i].left = -1;
    return true;
}

void lk__bpe_free(Bpe *bpe)
{
    lk_mem_free(bpe->tokens);
    lk_mem_free(bpe->names);
    lk_mem_free(bpe->slots);
    lk_mem_free(bpe->merges);
}

static const uint64_t MIX = 0x9E3779B97F4A7C15; /* 2^64 / golden ratio, odd */

static uint32_t hash_bytes(const unsigned char *bytes, size_t size)
{
    uint64_t h = size, part;
    for (; size >= sizeof part; bytes += sizeof part, size -= sizeof part) {
        memcpy(&part, bytes, sizeof part);
        h = (h ^ part) * MIX;
        h ^= h >> 32;
    }
    part = 0;
    for (size_t i = 0; i < size; i++) part |= (uint64_t)bytes[i] << 8 * i;
    h = (h ^ part) * MIX;
    return (uint32_t)(h >> 32);
}

/* The slot of these bytes, or the empty one where they would be. */
static BpeSlot *find_slot(const Bpe *bpe, uint32_t hash, const void *bytes, size_t size)
{
    for (uint32_t i = hash & bpe->slot_mask;; i = (i + 1) & bpe->slot_mask) {
        BpeSlot *slot = &bpe->slots[i];
        if (slot->id < 0) return slot;
        const BpeToken *token = &bpe->tokens[slot->id];
        if (slot->hash == hash && token->size == size &&
            memcmp(bpe->names + token->bytes, bytes, size) == 0)
            return slot;
    }
}

int32_t lk__bpe_find(const Bpe *bpe, const void *bytes, size_t size)
{
    return find_slot(bpe, hash_bytes(bytes, size), bytes, size)->id;
}

int32_t lk__bpe_find_spelling(const Bpe *bpe, const char *spelling, size_t length)
{
    unsigned char bytes[LK_BPE_TOKEN_MAX];
    size_t size;
    bool possible = length <= sizeof bytes && lk__bpe_unspell(spelling, length, bytes, &size);
    return possible ? lk__bpe_find(bpe, bytes, size) : -1;
}

void lk__bpe_add_token(Bpe *bpe, int32_t id)
{
    const BpeToken *token = &bpe->tokens[id];
    const unsigned char *bytes = (const unsigned char *)bpe->names + token->bytes;
    uint32_t hash = hash_bytes(bytes, token->size);
    *find_slot(bpe, hash, bytes, token->size) = (BpeSlot){ hash, id };
}

BpeMerge *lk__bpe_merge(const Bpe *bpe, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * MIX;
    for (uint32_t i = (uint32_t)(h >> 32) & bpe->merge_mask;; i = (i + 1) & bpe->merge_mask) {
        BpeMerge *merge = &bpe->merges[i];
        if ((merge->left == left && merge->right == right) || merge->left < 0) return merge;
    }
}

/* ---- merging -------------------------------------------------------------------------------- */

/* The tokens of a word so far, a list in an array. A token that was merged into its left neighbour
 * has id -1. */
typedef struct Symbol {
    int32_t id, previous, next; /* neighbours: -1 for none */
} Symbol;

/* Merges that were possible when they were found: a heap of rank << 32 | place of the left token,
 * with the least on top. */
typedef struct Merger {
    const Bpe *bpe;
    Symbol *symbols;
    uint64_t *heap;
    size_t count;
} Merger;

static void push(Merger *m, int32_t left, int32_t right)
{
    const BpeMerge *merge = lk__bpe_merge(m->bpe, m->symbols[left].id, m->symbols[right].id);
    if (merge->left < 0) return;
    uint64_t entry = (uint64_t)merge->rank << 32 | (uint32_t)left;
    size_t at = m->count++;
    for (; at > 0 && m->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        m->heap[at] = m->heap[(at - 1) / 2];
    m->heap[at] = entry;
}

static uint64_t pop(Merger *m)
{
    uint64_t top = m->heap[0], entry = m->heap[--m->count];
    size_t at = 0;
    for (size_t child = 1; child < m->count; child = 2 * at + 1) {
        if (child + 1 < m->count && m->heap[child + 1] < m->heap[child]) child++;
        if (entry <= m->heap[child]) break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = entry;
    return top;
}

/* Puts one symbol for each byte. */
static int32_t put_bytes(Merger *m, int32_t n, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++, n++)
        m->symbols[n] = (Symbol){ m->bpe->of_byte[bytes[i]], n - 1, n + 1 };
    return n;
}

static int32_t put_word(Merger *m, const unsigned char *word, size_t size, bool broken)
{
    if (!broken) return put_bytes(m, 0, word, size);
    int32_t n = 0;
    for (size_t at = 0, step; at < size; at += step) {
        uint32_t code;
        step = lk__utf8(word + at, size - at, &code);
        if (code == LK_UTF8_BROKEN)
            n = put_bytes(m, n, (const unsigned char *)LK_UTF8_REPLACEMENT, 3);
        else n = put_bytes(m, n, word + at, step);
    }
    return n;
}

static void merge_all(Merger *m, int32_t n)
{
    Symbol *symbols = m->symbols;
    symbols[n - 1].next = -1;
    for (int32_t i = 0; i + 1 < n; i++) push(m, i, i + 1);
    while (m->count > 0) {
        uint64_t entry = pop(m);
        int32_t at = (int32_t)(uint32_t)entry, next = symbols[at].next;
        if (symbols[at].id < 0 || next < 0) continue;
        const BpeMerge *merge = lk__bpe_merge(m->bpe, symbols[at].id, symbols[next].id);
        /* one of the two has changed since */
        if (merge->left < 0 || merge->rank != (int32_t)(entry >> 32)) continue;
        symbols[at].id = merge->token;
        symbols[at].next = symbols[next].next;
        symbols[next].id = -1;
        if (symbols[at].next >= 0) {
            symbols[symbols[at].next].previous = at;
            push(m, at, symbols[at].next);
        }
        if (symbols[at].previous >= 0) push(m, symbols[at].previous, at);
    }
}

/* Returns memory that the next long word uses again. */
static void *scratch(TokenIds *ids, size_t bytes)
{
    if (ids->scratch_bytes >= bytes) return ids->scratch;
    size_t size = ids->scratch_bytes * 2 > bytes ? ids->scratch_bytes * 2 : bytes;
    void *more = lk_mem_alloc(size);
    if (!more) return NULL;
    lk_mem_free(ids->scratch);
    ids->scratch = more;
    ids->scratch_bytes = size;
    return more;
}

bool lk__bpe_word(const Bpe *bpe, const unsigned char *word, size_t size, bool broken,
                  TokenIds *ids)
{
    enum { SHORT = 96 }; /* symbols that need no heap memory */
    Symbol few_symbols[SHORT];
    uint64_t few_entries[2 * SHORT];

    int32_t id = broken ? -1 : lk__bpe_find(bpe, word, size);
    size_t most = broken ? 3 * size : size;
    if (!lk__token_ids_reserve(ids, most)) return false;
    if (id >= 0 && bpe->tokens[id].whole) {
        ids->items[ids->count++] = id;
        return true;
    }
    /* n symbols have n - 1 pairs, and each of at most n - 1 merges takes one entry and puts
     * two. */
    Merger m = { bpe, few_symbols, few_entries, 0 };
    if (most > SHORT) {
        m.heap = scratch(ids, most * (2 * sizeof *m.heap + sizeof *m.symbols));
        if (!m.heap) return false;
        m.symbols = (Symbol *)(m.heap + 2 * most);
    }
    int32_t n = put_word(&m, word, size, broken);
    merge_all(&m, n);
    for (int32_t i = 0; i >= 0; i = m.symbols[i].next) ids->items[ids->count++] = m.symbols[i].id;
    return true;
}

bool lk__bpe_finish(Bpe *bpe)
{
    TokenIds ids = { 0 };
    bool ok = true;
    for (int32_t id = 0; ok && id < bpe->count; id++) {
        BpeToken *token = &bpe->tokens[id];
        ids.count = 0;
        ok = lk__bpe_word(bpe, (const unsigned char *)bpe->names + token->bytes, token->size,
                          false, &ids);
        token->whole = ok && ids.count == 1 && ids.items[0] == id;
    }
    lk_token_ids_free(&ids);
    return ok;
}
