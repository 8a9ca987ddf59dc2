/* test_calls.c - calls every public function with NULL for each of its pointers in turn, and with
 * a stale tensor, one in bfloat16 and one in qint8 for each of its tensors and arrays of tensors.
 * The calls are made from the headers by tests/calls.awk, so no function can be forgotten; each is
 * made in a process of its own. A function must survive NULL; of a stale tensor it must say what
 * happened, and give nothing. An element of bfloat16 has two bytes and one of qint8 a single one.
 * A function that takes it for another type reads or writes behind them, where a page ends that
 * may not be touched. */
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lorikeet/lorikeet.h>

#include "tests/check.h"

/* ---- good arguments ------------------------------------------------------------------------- */

/* Made anew in the process of each call, which may consume or break them. */
static struct Good {
    Tape *tape;
    Tensor *tensor, *stale, *half, *tensors[LK_MOMENTS];
    Module *module, *modules[2];
    Rng rng;
    Error err;
    FILE *out;
    Dataset *dataset;
    DataLoader *loader;
    TextDataset *text;
    TextLoader *text_loader;
    Optimizer *optimizer;
    OptimizerIter states;
    Ema *ema;
    Tokenizer *tokenizer;
    SafeTensors *file;
    StateDict *state;
    GradcheckReport report;
} good;

static Tensor *itself(Tape *t, const void *state, Tensor *x) { return (void)t, (void)state, x; }
static Tensor *square(Tape *t, Tensor *const *in, void *user)
{
    return (void)user, lk_mul(t, in[0], in[0]);
}
static bool square_many(Tape *t, Tensor *const *in, Tensor **out, void *user)
{
    return (*out = square(t, in, user));
}
static void no_row(int64_t n, void *const *p, const int64_t *step, const void *arg)
{
    (void)n, (void)p, (void)step, (void)arg;
}
static bool every(const ParamIter *it, void *user) { return (void)it, (void)user, true; }
static void ignore(const Error *err, void *user) { (void)err, (void)user; }
static int no_moments(const ParamGroup *group) { return (void)group, 0; }
static void no_update(const ParamGroup *group, int64_t step, const OptimizerPiece *piece)
{
    (void)group, (void)step, (void)piece;
}
static bool collate(const Dataset *d, const int64_t *rows, int64_t n, Batch *b, void *user,
                    Error *err)
{
    return (void)d, (void)rows, (void)n, (void)b, (void)user, (void)err, true;
}
static void *no_memory(size_t bytes) { return (void)bytes, NULL; }
static void no_free(void *block) { (void)block; }

static const OptimizerType optimizer_type = { .name = "Still",
                                              .update = no_update,
                                              .moments = no_moments };
static const ModuleType module_type = { .name = "Empty", .size = sizeof(Module) };
static const Op op = { "Backward0", NULL, { 0 } };
static va_list no_arguments; /* for a format that reads none */
static int64_t ones[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
static char room[1 << 16];
static const char *names[] = { "x", "y" };

static DType stored = LK_BF16;

/* A tensor in `stored` whose element is the last one of a page that may be touched, or lies in the
 * page's last four bytes where a float32 scale precedes it and has to be aligned. */
static Tensor *half_new(Error *err)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(pages != MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
    Tensor *x = lk_tensor_new(stored, LK_SHAPE(1, 1), err);
    size_t bytes = stored == LK_QI8 ? sizeof(float) : lk_dtype_size(stored);
    x->data = x->storage->data = pages + page - bytes;
    return x;
}

static void make_good(void)
{
    Error *err = &good.err;
    lk_manual_seed(&good.rng, 0);
    good.tape = quiet_tape();
    good.out = fopen("/dev/null", "w");
    good.stale = lk_ones(good.tape, LK_F32, LK_SHAPE(1, 1));
    lk_tape_reset(good.tape);
    good.tensor = lk_param_new(LK_F32, LK_SHAPE(1, 1), err);
    good.half = half_new(err);
    for (int i = 0; i < LK_MOMENTS; i++) /* they may be consumed */
        good.tensors[i] = lk_tensor_retain(good.tensor);
    good.module = lk_linear_new(1, 1, true, &good.rng, err);
    good.modules[0] = good.module;
    good.module = lk_sequential_new(1, good.modules, err);
    good.modules[0] = good.module;
    good.dataset = lk_dataset_new(lk_tensor_new(LK_F32, LK_SHAPE(2, 1), err),
                                  lk_tensor_new(LK_I64, LK_SHAPE(2), err), LK_TO_TENSOR, err);
    good.loader = lk_loader_new(good.dataset, 1, true, &good.rng, err);
    good.text = lk_text_dataset_new(err);
    check(lk_text_add(good.text, ones, 3, 0, err));
    good.text_loader =
        lk_text_loader_new(good.text, &(TextOptions){ .batch_size = 1, .pad = 1 }, &good.rng, err);
    good.optimizer = lk_sgd_new(lk_parameters(good.module, err), 0.1, err);
    good.ema = lk_ema_new(lk_parameters(good.module, err), 0.9, err);
    good.states = lk_optimizer_states(good.optimizer);
    check(lk_optimizer_states_next(&good.states));
    good.state = lk_state_dict_new(good.module, err);
    check_no_error(err);
    /* NULL where it was built without it */
    good.tokenizer = lk_tokenizer_new(check_fixture("tokenizer"), NULL);
    good.file = lk_safetensors_open(check_fixture("reference.safetensors"), NULL);
}

#define GOOD_Tapep good.tape
#define GOOD_Tensorp lk_tensor_retain(good.tensor) /* it may be consumed */
#define GOOD_Tensorpp (void *)good.tensors
#define GOOD_Modulep lk_module_retain(good.module)
#define GOOD_Modulepp good.modules
#define GOOD_ModuleArrayp (&(ModuleArray){ NULL, 0 })
#define GOOD_ModuleTypep (&module_type)
#define GOOD_ParamShapep (&(ParamShape){ LK_SHAPE(1) })
#define GOOD_NameStarp ((NameStar[LK_NAME_STARS]){ { NULL, 0 } })
#define GOOD_Rngp (&good.rng)
#define GOOD_Errorp (&good.err)
#define GOOD_FILEp good.out
#define GOOD_Bufferp (&(Buffer){ 0 })
#define GOOD_charp memcpy(room, "x", 2)
#define GOOD_format "x"
#define GOOD_charpp names
#define GOOD_voidp room
#define GOOD_int64_tp ones
#define GOOD_intp (&(int){ 1 })
#define GOOD_boolp (&(bool){ false })
#define GOOD_floatp ((float *)room)
#define GOOD_doublep ((double *)room)
#define GOOD_size_tp (&(size_t){ 1 })
#define GOOD_int 1
#define GOOD_int64_t 1
#define GOOD_uint64_t 1
#define GOOD_size_t 1
#define GOOD_double 0.5
#define GOOD_bool true
#define GOOD_DType LK_F32
#define GOOD_Reduction LK_MEAN
#define GOOD_LoRAForm LK_LORA_ADDED
#define GOOD_ErrorCode LK_EVALUE
#define GOOD_RegisterMode LK_KEEP_VALUE
#define GOOD_PeftForm LK_PEFT_WRAPPER
#define GOOD_Transform LK_TO_TENSOR
#define GOOD_TapeRandom ((TapeRandom){ 0, 0 })
#define GOOD_TapeMark lk_tape_mark(good.tape)
#define GOOD_CrossEntropyOptions ((CrossEntropyOptions){ .weight = NULL })
#define GOOD_ConvOptions ((ConvOptions){ .groups = 1 })
#define GOOD_PoolOptions ((PoolOptions){ .kernel = { 1 } })
#define GOOD_SequenceOptions ((SequenceOptions){ .reverse = false })
#define GOOD_AttentionOptions ((AttentionOptions){ .dropout = 0 })
#define GOOD_AttentionCachep (&(AttentionCache){ .length = 0 })
#define GOOD_FanMode LK_FAN_IN
#define GOOD_Nonlinearity LK_AFTER_RELU
#define GOOD_EncoderOptions ((EncoderOptions){ .dropout = 0 })
#define GOOD_RNNOptions ((RNNOptions){ .num_layers = 1 })
#define GOOD_Opp (&op)
#define GOOD_va_list no_arguments
#define GOOD_Nodep lk_scale(good.tape, good.tensor, 2)->node
#define GOOD_RowFnp no_row
#define GOOD_RecomputeFnp itself
#define GOOD_GradcheckFnp square
#define GOOD_GradcheckManyFnp square_many
#define GOOD_GradcheckOptionsp (&(GradcheckOptions){ .eps = 0 })
#define GOOD_GradcheckReportp (&good.report)
#define GOOD_ParamFilterp every
#define GOOD_ErrorHandlerp ignore
#define GOOD_AllocFnp no_memory
#define GOOD_FreeFnp no_free
#define GOOD_function_p NULL
#define GOOD_TensorList lk_parameters(good.module, &good.err)
#define GOOD_Optimizerp good.optimizer
#define GOOD_OptimizerTypep (&optimizer_type)
#define GOOD_OptimizerIterp (&good.states)
#define GOOD_Emap good.ema
#define GOOD_OneCyclep (&(OneCycle){ .total = 1 })
#define GOOD_Plateaup (&(Plateau){ .lr = 1 })
#define GOOD_StateDictp good.state
#define GOOD_LoRAConfigp (&(LoRAConfig){ .rank = 1, .alpha = 1 })
#define GOOD_Datasetp good.dataset
#define GOOD_DataLoaderp good.loader
#define GOOD_Datasetpp ((Dataset *[1]){ NULL })
#define GOOD_CollateFnp collate
#define GOOD_Batchp (&(Batch){ NULL, NULL, 0 })
#define GOOD_CsvOptionsp (&(CsvOptions){ .header = true })
#define GOOD_Csvp (&(Csv){ .values = good.tensor })
#define GOOD_TextDatasetp good.text
#define GOOD_TextOptionsp (&(TextOptions){ .batch_size = 1 })
#define GOOD_TextLoaderp good.text_loader
#define GOOD_TextBatchp (&(TextBatch){ .first = 0 })
#define GOOD_TextPositionp (&(TextPosition){ .next = 0 })
#define GOOD_Tokenizerp good.tokenizer
#define GOOD_TokenIdsp (&(TokenIds){ 0 })
#define GOOD_Progressp (&(Progress){ .out = NULL })
#define GOOD_Namesp (&(Names){ NULL, 0 })
#define GOOD_RobertaConfigp (&(RobertaConfig){ .vocab_size = 1 })
#define GOOD_RobertaSettingp lk_roberta_settings
#define GOOD_Trainerp (&(Trainer){ .t = NULL })
#define GOOD_TrainerLogp (&(TrainerLog){ .count = 0 })
#define GOOD_TrainerHistoryp (&(TrainerHistory){ .count = 0 })
#define GOOD_Maskingp (&(Masking){ .tok = good.tokenizer })
#define GOOD_MaskedBatchp (&(MaskedBatch){ NULL, NULL, NULL })
#define GOOD_Folderp (&(Folder){ .path = "none", .temporary = "none" })
#define GOOD_AtomicFilep (&(AtomicFile){ .file = -1 })
#define GOOD_Metadatap (&(Metadata){ 0 })
#define GOOD_LoadOptionsp (&(LoadOptions){ 0 })
#define GOOD_LoadReportp (&(LoadReport){ 0 })
#define GOOD_PeftOptionsp (&(PeftOptions){ .adapter = NULL })
#define GOOD_SafeTensorsp good.file
#define GOOD_SafeTensorsEntryp (good.file ? &good.file->entries[0] : NULL)

/* ---- the calls ------------------------------------------------------------------------------ */

/* Whether a result cannot be taken for a value. */
static bool nothing_double(double x) { return isnan(x); }
static bool nothing_int(int64_t x) { return x == -1; }
static bool nothing_bool(bool x) { return !x; }
static bool nothing_pointer(const void *x) { return !x; }
static bool nothing_text(const char *x) { return !x || strcmp(x, "<stale>") == 0; }
static bool nothing_length(size_t n) { return n == strlen("<stale>"); } /* lk_tensor_str */
#define IS_NOTHING(x) \
    _Generic((x), double: nothing_double, float: nothing_double, int: nothing_int, \
             int64_t: nothing_int, bool: nothing_bool, size_t: nothing_length, \
             char *: nothing_text, const char *: nothing_text, default: nothing_pointer)(x)
#define USE_RESULT(...) \
    __auto_type result = (__VA_ARGS__); \
    (void)result /* a cast alone would be warned of */
#define USE_NOTHING(...) __VA_ARGS__
#define CHECK_RESULT(...) return IS_NOTHING(__VA_ARGS__)
#define CHECK_NOTHING(...) \
    __VA_ARGS__; \
    return true

#define JOIN(a, b) a##b
#define CALL(line) JOIN(call_, line)
#define STALE_Tensorp good.stale
#define STALE_Tensorpp ((void *)(Tensor *[]){ good.stale, good.stale })
#define HALF_Tensorp lk_tensor_retain(good.half)
#define HALF_Tensorpp ((void *)(Tensor *[]){ good.half, good.half })

#define NULL_CALL(kind, function, parameter, call, arguments) \
    static bool CALL(__LINE__)(void) \
    { \
        USE_##kind(call arguments); \
        return true; \
    }
#define STALE_CALL(kind, function, parameter, call, arguments) \
    static bool CALL(__LINE__)(void) { CHECK_##kind(call arguments); }
#define HALF_CALL NULL_CALL
#include "calls.h"
#undef NULL_CALL
#undef STALE_CALL
#undef HALF_CALL

typedef enum Fault { WITH_NULL, WITH_STALE, WITH_HALF } Fault;
static const char *const fault_names[] = { "NULL", "stale" };

typedef struct Call {
    const char *function, *parameter;
    Fault fault;
    bool (*run)(void); /* a stale tensor: whether the result is nothing */
} Call;

#define NULL_CALL(kind, function, parameter, call, arguments) \
    { #function, #parameter, WITH_NULL, CALL(__LINE__) },
#define STALE_CALL(kind, function, parameter, call, arguments) \
    { #function, #parameter, WITH_STALE, CALL(__LINE__) },
#define HALF_CALL(kind, function, parameter, call, arguments) \
    { #function, #parameter, WITH_HALF, CALL(__LINE__) },
static const Call calls[] = {
#include "calls.h"
};
enum { CALLS = sizeof calls / sizeof *calls };

/* Calls with one fault that the header rules out. */
static bool is_ruled_out(const Call *c)
{
    static const char *const ruled_out[][2] = {
        { "lk_loop", "row" },
        { "lk_loop", "x" },
        { "lk_loop_serial", "row" },
        { "lk_loop_serial", "x" },
        { "lk_grad_in_fresh", "fresh" }, /* core/op.h */
    };
    for (size_t i = 0; c->fault == WITH_NULL && i < sizeof ruled_out / sizeof *ruled_out; i++)
        if (strcmp(c->function, ruled_out[i][0]) == 0 &&
            strcmp(c->parameter, ruled_out[i][1]) == 0)
            return true;
    return false;
}

/* These leave a stale tensor alone by their nature: the question itself, giving back, text for
 * messages, a result that is recorded, whether one would be. Others refuse something else first:
 * the good module has no parameter "x" and is no RoBERTa, the masking knows no tokens. */
static bool takes_stale(const Call *c)
{
    static const char *const functions[] = {
        "lk_is_stale", "lk_tensor_free",    "lk_shape_text",           "lk_assign",
        "lk_records",  "lk_roberta_logits", "lk_roberta_token_logits", "lk_masking_next"
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(c->function, functions[i]) == 0) return true;
    return strcmp(c->function, "lk_record") == 0 && strcmp(c->parameter, "y") == 0;
}

/* Exit codes of a call's process. A sanitizer exits with 1. */
enum { FINE, GAVE_SOMETHING = 100, SAID_NOTHING };

static int run_call(const Call *c)
{
    int null = open("/dev/null", O_WRONLY);
    check(null >= 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2);
    make_good();
    bool nothing = c->run();
    if (c->fault != WITH_STALE || takes_stale(c)) return FINE;
    const char *said = good.err.message;
    if (good.report.message[0]) said = good.report.message;
    if (lk_tape_error(good.tape)->code) said = lk_tape_error(good.tape)->message;
    if (!strstr(said, "lk_clone")) return SAID_NOTHING;
    return nothing ? FINE : GAVE_SOMETHING;
}

/* Every call in a process of its own; each fault is one line of the message. */
static void run_calls(Fault with)
{
    static char faults[1 << 14];
    size_t length = 0;
    int made = 0, wrong = 0;
    check(chdir(check_scratch("")) == 0, "no folder to work in");
    for (int i = 0; i < CALLS; i++) {
        const Call *c = &calls[i];
        if (c->fault != with || is_ruled_out(c)) continue;
        made++;
        fflush(NULL);
        pid_t child = fork();
        check(child >= 0);
        if (child == 0) _exit(run_call(c));
        int status;
        check(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == FINE) continue;
        wrong++;
        const char *fault = "crashes";
        if (WIFEXITED(status)) {
            fault = "exits";
            if (WEXITSTATUS(status) == SAID_NOTHING) fault = "says nothing";
            if (WEXITSTATUS(status) == GAVE_SOMETHING) fault = "gives a result";
        }
        if (length < sizeof faults)
            length += (size_t)snprintf(
                faults + length, sizeof faults - length, "\n  %s(%s = %s) %s", c->function,
                c->parameter, with == WITH_HALF ? lk_dtype_name(stored) : fault_names[with],
                fault);
    }
    check(wrong == 0, "%d of %d calls:%s", wrong, made, faults);
    check(made > 100, "only %d calls were made", made);
}

Test(calls, survive_null) { run_calls(WITH_NULL); }

Test(calls, refuse_stale_tensors) { run_calls(WITH_STALE); }

Test(calls, survive_bfloat16) { run_calls(WITH_HALF); }

Test(calls, survive_qint8)
{
    stored = LK_QI8;
    run_calls(WITH_HALF);
}
