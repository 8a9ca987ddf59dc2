/* strings.js - all that the page says, in one table, so that it can be translated. {name} is
 * replaced by a value. CODE has the C lines that a panel runs, TOUR the ten steps, TASKS the
 * exercises. */
"use strict";

const STRINGS = {
  documentTitle: "Lorikeet playground: LoRA, live",
  title: "Lorikeet playground",
  sentence: "Train a small network, teach it a digit with LoRA, and watch every number change.",
  start: "Start: press Train in panel 1, then Train LoRA in panel 2.",
  tabs: "Parts of the page",
  tabPlay: "Playground",
  tabExercises: "Exercises",
  share: "Copy link", copied: "✓ Copied",
  shared: "The link is in the clipboard: it replays what you see.",
  sharedByHand: "Copy the address of this page: it replays what you see.",
  tourOpen: "Take the tour",
  footer: "The C library Lorikeet, compiled to WebAssembly, trains in this page. Nothing is " +
    "loaded and nothing leaves your device. The digits are drawn by the library: 5,000 to train " +
    "with, 1,000 to test with.",
  failed: "That did not work: {message}",
  noWorker: "This browser cannot run the engine: {message}",

  seed: "Seed", learningRate: "Learning rate", steps: "steps", loss: "loss", step: "One step",
  preparing: "Preparing …", startAgain: "Start again", base: "base", withLora: "with LoRA",
  errorsPerDigit: "Wrong answers per digit", none: "–", notTrained: "not trained yet",
  percent: "{value} %",
  digit: "digit {digit}", digitsNamed: "digits {digits}",
  otherDigits: "other digits",
  lossLines: "thin: each step, thick: running mean", stepsEnd: "{steps} steps",

  baseTitle: "The base network",
  baseLead: "784 pixels → {hidden} → 10 answers, ready to learn all ten digits.",
  train: "Train", pause: "Pause", trainMore: "{steps} more", accuracy: "right, of 1,000",
  baseCurve: "Loss of the base over {steps} steps, now {loss}",
  baseDone: "{steps} steps: {right} of the test digits are right.",
  baseAgain: "Seed {seed}, learning rate {lr}: the base and LoRA start again.",
  errorsOf: "Digit {digit}: {wrong} of {count} wrong",

  loraTitle: "LoRA",
  loraLead: "Small matrices A and B beside the frozen weights: W + B A · alpha / rank.",
  layers: "Layers that get LoRA", oneLayer: "LoRA needs at least one layer.",
  layerShape: "{number}: {in}→{out}",
  digitsToLearn: "Digits to learn", oneDigit: "LoRA needs at least one digit.",
  rank: "Rank", alpha: "Alpha",
  rankNote: "Columns of B and rows of A. A higher rank lets ΔW change in more directions, and " +
    "trains more numbers.",
  alphaNote: "Multiplies ΔW by alpha / rank, already while it trains. The dial (panel 5) " +
    "multiplies ΔW again, afterwards.",
  scale: "alpha / rank = {alpha} / {rank} = {scale}",
  parameters: "{count} numbers to train, {percent} % of the base",
  loraTrain: "Train LoRA", loraReset: "Back to B = 0", 
  again: "retrain LoRA when I change a setting",
  baseFirst: "Train the base first (panel 1).",
  startsAgain: "New A, and B = 0: {lost}.",
  lostNothing: "LoRA is untrained", lostAndTrained: "LoRA was trained again",
  lostSteps: "what LoRA had learned is gone",
  tookApart: "It is no longer merged.", dialBack: "The dial is back at 1.",
  turnedOn: "LoRA is on again.",
  isOffHere: "LoRA is off: you see the base. Turn it on",
  loraCurve: "Loss of LoRA over {steps} steps, now {loss}",
  loraDone: "{steps} steps: {name} {chosen} right, other digits {others}.",

  drawTitle: "Draw a digit",
  drawLead: "Draw with a finger or the mouse; the answers follow.",
  pad: "Drawing area of 28 by 28 pixels. Arrow keys move the pen, the space key lowers or " +
    "lifts it.",
  take: "Take a test digit", takeChosen: "Take a {digit}", clear: "Clear",
  taken: "Test image {index}: it is a {label}.",
  drawn: "Your drawing.", empty: "Nothing is drawn yet.",
  answer: "{digit} ({percent} %)",
  answers: "The base says {base}, with LoRA {lora}.",

  matricesTitle: "A, B and ΔW",
  matricesLead: "ΔW = B A · alpha / rank is what LoRA adds to W. Point at a cell or touch it, " +
    "or use the arrow keys.",
  layer: "Layer", layerNumber: "Layer {number}",
  noLora: "This layer has no LoRA.",
  matrixA: "A ({rows} × {columns})", matrixB: "B ({rows} × {columns})",
  matrixD: "ΔW ({rows} × {columns})",
  pointAtIt: "Violet is negative, green positive; the largest number of ΔW is {largest}.",
  allZero: "Every number of ΔW is 0, because B is 0.",
  cellA: "A: row {row}, column {column} = {value}",
  cellB: "B: row {row}, column {column} = {value}",
  cellD: "ΔW: row {row}, column {column} = {product} · {scale} = {value}: row {row} of B " +
    "times column {column} of A, times alpha / rank.",
  moreProducts: "({shown} + … {count} products)",
  singularValues: "Strength of each stripe picture",
  singularNote: "ΔW is a sum of stripe pictures; these are their singular values. Rank {rank}: " +
    "at most {rank} are not 0.",
  singularValue: "Singular value {number}: {value}",
  vectorTitle: "What the strongest one reads",
  vectorPixels: "The pixels that it reads (first right singular vector): mostly noise, since A " +
    "began random.",
  vectorInputs: "Which of the {count} inputs it reads (first right singular vector).",
  noVector: "Nothing yet: ΔW is 0.",
  movedTitle: "What layer 1 learned",
  moved: "How row {row} of A changed, the row that changed most: 784 numbers, one per pixel. " +
    "Paper is violet.",
  movedLater: "Nothing yet: train LoRA on layer 1.",

  dialTitle: "The specialisation dial",
  dialLead: "How much of ΔW is added: W + dial · ΔW. Turn it, and see who gains and who pays.",
  dialCurve: "Right answers against the dial. At {dial}: {chosenName} {chosen}, others {others}.",
  dialZero: "Dial 0: exactly the base.",
  dialNotZero: "Dial 0: NOT the base. That is a fault.",
  dialAt: "Dial {dial}: W + {dial} · ΔW. {zero}",
  dialBest: "Best mean of both: dial {dial}.", best: "best",
  dialOff: "LoRA is off (panel 7), so the network is the base.",
  dialMerged: "Merged with dial {dial}. Take it apart first (panel 7) to turn the dial.",

  changedTitle: "What LoRA fixed and broke",
  changedLead: "Test images whose answer changed. Choose one to see it in panel 3.",
  fixed: "{count} fixed", broken: "{count} broken",
  someFixed: "{count} fixed, {shown} of them shown",
  someBroken: "{count} broken, {shown} of them shown",
  chosenChange: "Panel 3 now has test image {index}, a {label}. {answers}",
  toPanel3: "Go to panel 3",
  change: "{label}: the base says {base}, LoRA {lora}",
  bothErrorsOf: "Digit {digit}: base {base}, with LoRA {lora} of {count} wrong",

  mergeTitle: "Merge and switch off",
  mergeLead: "A finished LoRA can be added to the weights once, or taken away again.",
  switchOn: "LoRA on", switchMerge: "Merged into one weight",
  isOn: "On: a score before softmax differs from the base's by up to {difference}.",
  isOnButZero: "On, but ΔW is still 0: every answer is the base's.",
  isOff: "Off: the largest difference to the base is {difference}.",
  isOffExactly: "Off: bit for bit the base.",
  onIsMerged: "Take it apart first, then it can be switched off.",
  isMerged: "Merged: scores changed by at most {difference}. Forward costs what the base costs.",
  isUnmerged: "Apart: W stays as it was, A and B lie beside it. Changed by at most {difference}.",
  notMerged: "Apart: W stays as it was, A and B lie beside it.",
  mergeIsOff: "Turn LoRA on first, then it can be merged.",
  wholeWeight: "W + ΔW", scaledWeight: "W + {dial} · ΔW",

  exercisesLead: "The course's exercises, run in this page: the C program and what it prints.",
  exercisesOrder: "Two ways to write the same LoRA. The exercises: y + alpha (x A B), where A " +
    "is in × rank and x stands on the left. The playground, like most papers: W + (B A) · alpha " +
    "/ rank, where A is rank × in and B is out × rank. So each matrix is transposed, the " +
    "product is turned round, and the exercises do not divide by rank.",
  exercisesWords: "The notebook is the course's Python notebook. nn/lora.c is the file of the " +
    "library with its classes in C. Central differences check a gradient: move a number a " +
    "little up and down, and look how the result changes.",
  exerciseTitle: "Exercise {number}: {name}.c",
  exerciseRun: "Run", exerciseRuns: "Running …",
  exerciseEnded: "Run {count}: ended with status {status} after {time} ms.",
  source: "Source of {title}", output: "Output of {title}",

  tour: "Guided tour", tourCount: "Step {step} of {count}", tourClose: "Close",
  tourBefore: "Step {step}: {result}",
  tourBack: "Back", tourNext: "Next", tourEnd: "Finish",
};

const CODE = {
  base:
`lk_manual_seed(&rng, {seed});
Optimizer *adam = lk_adam_new(
    lk_trainable_parameters(net, &err),
    {lr}, &err);
while (lk_loader_next(train, &b)) {
    Tensor *y = lk_forward(t, net, b.x);
    Tensor *l = lk_cross_entropy(t, y, b.y);
    lk_optimizer_zero_grad(adam);
    if (!lk_backward(t, l)) return false;
    if (!lk_step(adam, &err)) return false;
    lk_tape_reset(t);
}`,
  lora:
`LoRAConfig config = {
    .rank = {rank}, .alpha = {alpha},
    .targets = {targets},
};
lk_add_lora(net, &config, &rng, &err);
lk_train_only_lora(net, NULL, &err);
int64_t learn[] = { {digits} };
Dataset *chosen = lk_filter_classes_new(
    train, {count}, learn, &err);
/* and the loop of panel 1, with lr {lr} */`,
  draw:
`lk_tape_set_grad(t, false);
Tensor *y = lk_forward(t, net, x);
Tensor *p = lk_softmax(t, y, 1);`,
  matrices:
`for (AdapterIter it = lk_adapters(net); lk_adapters_next(&it);) {
    Tensor *BA = lk_matmul(t, it.lora->lora_B, it.lora->lora_A);
    Tensor *delta = lk_scale(t, BA, it.lora->scale);
}`,
  dial: `/* scale = {dial} · alpha / rank */
lk_scale_lora(net, NULL, {dial}, &err);`,
  changed:
`Tensor *answer = lk_argmax(t, lk_forward(t, net, b.x), 1, false);
int64_t right = lk_count(lk_eq(t, answer, b.y));`,
  merged: `/* forward reads one finished weight */
lk_merge(net, &err);`,
  on: `/* W + B A · alpha / rank, when it is read */
lk_enable_lora(net, NULL, true, &err);
lk_unmerge(net);`,
  off: `/* W alone, when it is read */
lk_enable_lora(net, NULL, false, &err);`,
};

const TOUR = [
  { title: "Train the base", action: "Train 600 steps",
    text: "The network begins with random weights and guesses. 600 steps of Adam are enough: " +
      "watch the loss fall and the wrong answers shrink.",
    result: "{base} of the test digits are right." },
  { title: "Look at a nine", action: "Find a nine",
    text: "Not every digit is learned equally well. Let us look in the test set for a nine that " +
      "the base gets wrong. You can also draw one yourself.",
    result: "{answers}",
    otherwise: "The base gets no nine of the test set wrong. {answers}" },
  { title: "B = 0 changes nothing", action: "Attach LoRA, rank 1",
    text: "LoRA puts two thin matrices beside each weight. A is random, B is zero. So " +
      "ΔW = B A is zero too, and the network answers exactly as before. A must not be zero as " +
      "well: then both gradients were zero, and nothing would ever learn.",
    result: "The largest difference to the base is {difference}." },
  { title: "What alpha does", action: "Set alpha to 4",
    text: "ΔW is multiplied by alpha / rank. Alpha is a volume knob: with 4 each change of B " +
      "counts four times. Now B is still zero, and four times zero is zero.",
    result: "{scale}, and the largest difference to the base is still {difference}." },
  { title: "Freeze the rest", action: "Set alpha to 1, and count",
    text: "Only A and B will be trained. The base has 109,386 numbers, and all of them stay as " +
      "they are. Alpha goes back to 1. Count what is left with rank 1.",
    result: "{parameters}." },
  { title: "Train on nines only", action: "Train 100 steps",
    text: "100 steps that show nothing but nines. B moves away from zero, and stripes appear in " +
      "ΔW: each row is a multiple of the same row, because the rank is 1. Look at the picture " +
      "of what changed in A.",
    result: "Nines: {chosen} right. Other digits: {others}. The nine in panel 3: {answers}" },
  { title: "Why others pay", action: "Find the best dial",
    text: "A network that sees only nines learns to say nine. The dial adds ΔW little by " +
      "little: the orange curve rises, the grey one falls. Where are both good? Drag the dial " +
      "and compare with the mark.",
    result: "Dial {dial}: nines {chosen}, other digits {others}." },
  { title: "What rank does", action: "Train with rank 4",
    text: "Four columns in B, four rows in A: ΔW is a sum of four striped pictures. Alpha " +
      "becomes 4 too, so that alpha / rank stays 1, and both ranks learn for 100 steps.",
    result: "{parameters}. Other digits: {others}, with rank 1 {othersBefore}. Rank 4 is not " +
      "worse: four pairs learned at once, so ΔW of layer 1 is {growth} times as large. Turned " +
      "down to dial {best}, rank 4 gives nines {bestChosen} and others {bestOthers}." },
  { title: "Merge", action: "Merge",
    text: "W + ΔW is one matrix of W's size. Merged, the network reads that one matrix and " +
      "costs no more than the base. Its answers stay what they were.",
    result: "The largest difference of a score before softmax is {difference}." },
  { title: "Switch it off", action: "Switch off",
    text: "The base was never changed. Without ΔW each answer is the base's again, bit for bit. " +
      "One base can carry many such adapters. When you finish, LoRA is turned on again.",
    result: "The largest difference to the base is {difference}. That was the tour." },
];

const TASKS = [
  "Write the class LoRALayer: it returns alpha (x A B), and B is 0 at first.",
  "Write LinearWithLoRA: the answer of a Linear plus the answer of its LoRALayer.",
  "Replace the Linear of a small network by LinearWithLoRA. With B = 0 the output stays.",
  "Write LinearWithLoRAMerged: add A B to the weight first, then multiply once.",
  "Give LoRA to each Linear of a network with three layers. The original must not change.",
  "Freeze the Linears and train A and B only. The frozen weights must keep their values.",
];
