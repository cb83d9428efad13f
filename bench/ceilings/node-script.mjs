/** A scoring script for Node in a bare loop: `run()` with a chunk of files at a time, its rows written as they come. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ceiling, filesBelow, inChunks } from './pool.mjs';

await ceiling({
  options: { script: { type: 'string' }, batch: { type: 'string', default: '1' } },
  plan: ({ input, batch }) => inChunks(filesBelow(input), Number(batch)),
  open: async ({ input, script }) => {
    const { run } = await import(pathToFileURL(script).href);
    return async (names, write) => {
      const rows = await run(
        names.map((name) => join(input, name)),
        { names },
      );
      write(`${rows.join('\n')}\n`);
    };
  },
});
