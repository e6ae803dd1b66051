// The same script, with the store component in another host than ours, Node.js by jco: host.js TRANSPILED DIR
// The first is what `jco transpile` has made of the component.
import { pathToFileURL } from 'node:url';

import { _setEnv } from '@bytecodealliance/preview2-shim/cli';
import { _setPreopens, preopens } from '@bytecodealliance/preview2-shim/filesystem';

import { script } from './script.js';

const [transpiled, dir] = process.argv.slice(2);

// Both are read when the component is instantiated, which its import does.
_setEnv({ MINISNAP_LAYOUT: 'numbered', MINISNAP_KEEP: '3' });
_setPreopens({ '/snapshots': dir });

// What preview2-shim 0.25.0 preopens it neither looks at nor syncs; a directory that was opened, it does.
const [preopen] = preopens.getDirectories();
preopen[0] = preopen[0].openAt({}, '.', { directory: true }, { read: true });

const { snapshotStore } = await import(pathToFileURL(transpiled));
script(snapshotStore);
