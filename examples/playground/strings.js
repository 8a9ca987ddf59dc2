/* strings.js - all that the page says, in one table, so that it can be translated. {name} is
 * replaced by a value. CODE has the C lines that a panel runs, TOUR the ten steps. */
"use strict";

const STRINGS = {
  documentTitle: "Lorikeet playground: LoRA, live",
  title: "Lorikeet playground",
  sentence: "Train a small network, teach it a digit with LoRA, and watch every number change.",
  tabs: "Parts of the page",
  tabPlay: "Playground",
  tabExercises: "Exercises",
  share: "Copy link",
  shared: "The link is in the clipboard: it replays what you see.",
  sharedByHand: "Copy the address of this page: it replays what you see.",
  tourOpen: "Take the tour",
  footer: "The C library Lorikeet, compiled to WebAssembly, trains in this page. Nothing is " +
    "loaded and nothing leaves your device. The digits are drawn by the library: 5,000 to train " +
    "with, 1,000 to test with.",
  failed: "That did not work: {message}",
  noWorker: "This browser cannot run the engine: {message}",

  seed: "Seed", learningRate: "Learning rate", steps: "steps", loss: "loss", step: "One step",
  loading: "Loading …", startAgain: "Start again", base: "base", withLora: "with LoRA",
  errorsPerDigit: "Wrong answers per digit", none: "–", notTrained: "not trained yet",
  percent: "{value} %",
  digit: "digit {digit}", digitsNamed: "digits {digits}",
  otherDigits: "other digits",

  baseTitle: "The base network",
  baseLead: "784 pixels → {hidden} → 10 answers, ready to learn all ten digits.",
  train: "Train", pause: "Pause", trainMore: "{steps} more", accuracy: "right, of 1,000",
  baseCurve: "Loss of the base over {steps} steps, now {loss}",
  baseDone: "{steps} steps: {right} of the test digits are right.",
  errorsOf: "Digit {digit}: {wrong} of {count} wrong",

  loraTitle: "LoRA",
  loraLead: "Small matrices A and B beside the frozen weights: W + B A · alpha / rank.",
  layers: "Layers that get LoRA",
  layerShape: "{number}: {in}→{out}",
  digitsToLearn: "Digits to learn",
  rank: "Rank", alpha: "Alpha",
  parameters: "{count} numbers to train, {percent} % of the base",
  loraTrain: "Train LoRA", loraReset: "Back to B = 0", again: "train again after a change",
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
  matricesLead: "ΔW = B A · alpha / rank is what LoRA adds to W. Point at a cell, or use the " +
    "arrow keys.",
  layer: "Layer", layerNumber: "Layer {number}",
  noLora: "This layer has no LoRA.",
  formula: "A is above ΔW, B to its left.",
  matrixA: "A, {rows} by {columns}", matrixB: "B, {rows} by {columns}",
  matrixD: "ΔW, {rows} by {columns}",
  pointAtIt: "Blue is negative, orange positive; the largest here is {largest}.",
  allZero: "Every number of ΔW is 0, because B is 0.",
  cellA: "A: row {row}, column {column} = {value}",
  cellB: "B: row {row}, column {column} = {value}",
  cellD: "ΔW: row {row}, column {column} = {value} = " +
    "(row {row} of B) · (column {column} of A) · {scale}",
  singularValues: "Singular values of ΔW",
  singularNote: "No more than the rank of them are not zero: that is what low rank means.",
  singularValue: "Singular value {number}: {value}",
  vectorPixels: "The leading singular vector as a picture of pixels. It is mostly noise: A " +
    "began random.",
  moved: "What training changed in A of layer 1, row {row}: 784 numbers, as a picture. It has " +
    "the shape of what was learned.",
  vectorInputs: "The leading singular vector: the {count} inputs that ΔW looks at.",

  dialTitle: "The specialisation dial",
  dialLead: "How much of ΔW is added: W + dial · ΔW. Turn it, and see who gains and who pays.",
  dialCurve: "Right answers against the dial. At {dial}: {chosenName} {chosen}, others {others}.",
  dialZero: "Dial 0: bit for bit the base.",
  dialNotZero: "Dial 0: NOT the base. That is a fault.",
  dialAt: "Dial {dial}: W + {dial} · ΔW. {zero}",

  changedTitle: "What LoRA fixed and broke",
  changedLead: "Test images whose answer changed. Choose one to see it in panel 3.",
  fixed: "{count} fixed", broken: "{count} broken",
  change: "{label}: the base says {base}, LoRA {lora}",
  bothErrorsOf: "Digit {digit}: base {base}, with LoRA {lora} of {count} wrong",

  mergeTitle: "Merge and switch off",
  mergeLead: "A finished LoRA can be added to the weights once, or taken away again.",
  switchOn: "LoRA is on", switchMerge: "Merged into one weight",
  isOn: "On: a logit differs from the base by up to {difference}.",
  isOff: "Off: the largest difference to the base is {difference}.",
  isOffExactly: "Off: the largest difference to the base is 0. Bit for bit the base.",
  isMerged: "Merged: logits changed by at most {difference}. Forward costs what the base costs.",
  isUnmerged: "Apart: W stays as it was, A and B lie beside it. Changed by at most {difference}.",
  notMerged: "Apart: W stays as it was, A and B lie beside it.",

  exercisesLead: "The course's exercises, run in this page: the C program and what it prints.",
  exerciseTitle: "Exercise {number}: {name}.c",
  exerciseRun: "Run", exerciseEnded: "Ended with status {status} after {time} ms.",
  source: "Source of {title}", output: "Output of {title}",

  tour: "Guided tour", tourCount: "Step {step} of {count}", tourClose: "Close",
  tourBack: "Back", tourDo: "Do it", tourNext: "Next", tourEnd: "Finish",
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
  mergeOn: `/* forward reads one finished weight */
lk_merge(net, &err);`,
  mergeOff: `/* W + B A · alpha / rank, when it is read */
lk_unmerge(net);`,
  enable: `lk_enable_lora(net, NULL, {on}, &err);`,
};

const TOUR = [
  { title: "Train the base",
    text: "The network begins with random weights and guesses. 600 steps of Adam are enough: " +
      "watch the loss fall and the wrong answers shrink.",
    result: "{base} of the test digits are right." },
  { title: "Look at a nine",
    text: "Not every digit is learned equally well. Here is a nine from the test set that the " +
      "base does not recognize. You can also draw one yourself.",
    result: "{answers}" },
  { title: "B = 0 changes nothing",
    text: "LoRA puts two thin matrices beside each weight. A is random, B is zero. So " +
      "ΔW = B A is zero too, and the network answers exactly as before.",
    result: "The largest difference to the base is {difference}." },
  { title: "What alpha does",
    text: "ΔW is multiplied by alpha / rank. Alpha is a volume knob: with 4 each change of B " +
      "counts four times. Now B is still zero, and four times zero is zero.",
    result: "Alpha is {alpha}; the largest difference to the base is still {difference}." },
  { title: "Freeze the rest",
    text: "Only A and B will be trained. The base has 109,386 numbers, and all of them keep " +
      "their bits. Count what is left with rank 1.",
    result: "{parameters}." },
  { title: "Train on nines only",
    text: "100 steps that show nothing but nines. B moves away from zero, and stripes appear in " +
      "ΔW: each row is a multiple of the same row, because the rank is 1. Look at the picture " +
      "of what changed in A.",
    result: "Nines: {chosen} right. Other digits: {others}. The nine in panel 3: {answers}" },
  { title: "Why others pay",
    text: "A network that sees only nines learns to say nine. The dial adds ΔW little by " +
      "little: the orange curve rises, the blue one falls. Look for a place where both are good.",
    result: "Dial {dial}: nines {chosen}, other digits {others}." },
  { title: "What rank does",
    text: "With rank 4, alpha is 4 too, so that alpha / rank stays 1. There are four columns " +
      "in B, four rows in A: ΔW is a sum of four striped pictures, and has four singular values.",
    result: "{parameters}. Nines: {chosen}, other digits: {others}." },
  { title: "Merge",
    text: "W + ΔW is one matrix of W's size. Merged, the network reads that one matrix and " +
      "costs no more than the base. Its answers stay what they were.",
    result: "The largest difference of a logit is {difference}." },
  { title: "Switch it off",
    text: "The base was never changed. Without ΔW each answer is the base's again, bit for bit. " +
      "One base can carry many such adapters.",
    result: "The largest difference to the base is {difference}. That was the tour." },
];
