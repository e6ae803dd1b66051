// The consumer: the script with the imported interface, as the export wasi:cli/run.
import * as snapshotStore from 'arcella:minisnap/snapshot-store@0.1.0';

import { script } from './script.js';

export const run = {
  run() {
    script(snapshotStore);
  },
};
