/* exercises.js - the exercises in the page: { title, source, output }, in their order. A build
 * that compiles the exercises puts its own table in the place of this empty one. */
"use strict";
const EXERCISES = [];
