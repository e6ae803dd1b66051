// The consumer: the script with the imported store, as the export wasi:cli/run.
import * as store from 'arcella:minisnap/snapshot-store@0.1.0';

import { script } from './script.js';

export const run = {
  run() {
    script(store);
  },
};
