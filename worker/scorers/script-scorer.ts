/** Scripts in JavaScript and TypeScript: `init(context)`, `run(files, context)` and `shutdown()`, each plain or async. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { Scorer } from '../../common/core/deployment.ts';
import type { HostFile, HostInit } from '../../common/core/host-protocol.ts';
import { defaultOutputForm } from '../../common/core/output-form.ts';
import { openRowEncoder, type RowEncoder } from '../../common/format/row-encoder.ts';
import { asksForOrigin, type RowOrigin } from '../../common/format/row-origin.ts';
import { watchAppends } from './append-watch.ts';
import { endWithParent } from './end-with-parent.ts';
import type { HostScorer, Scored, ScorePort } from './host-scorer.ts';
import { ScriptCalls } from './script-calls.ts';
import { loadScript } from './script-module.ts';
import { encodeResult, originOfFiles } from './script-result.ts';
import type { ScorerContext } from './script-types.ts';

/**
 * Imports the script and calls its init(). Throws SCRIPT_INVALID when it cannot be loaded; what init() throws is passed on.
 * @source Azure ML batch scoring-script contract, told in JavaScript
 */
export async function openScriptScorer(host: HostInit, scorer: Extract<Scorer, { kind: 'node' }>): Promise<HostScorer> {
  if (host.codeDir === null) {
    throw new BatchError('SCRIPT_INVALID', `the deployment has no code folder to find ${scorer.script} in`);
  }
  endWithParent();
  // Before the script is imported, which takes what it finds.
  const takeAppended = watchAppends(host.customDir);
  const script = await loadScript(host.codeDir, scorer.script);
  const context: ScorerContext = Object.freeze({
    modelPath: host.modelPath,
    codeDir: host.codeDir,
    outputDir: host.customDir,
    job: host.job,
    node: host.node,
    process: host.process,
  });
  const encoder = await openRowEncoder(host.settings.outputFormat, host.settings.outputForm ?? defaultOutputForm);
  await script.init?.(context);
  const { customDir, callSize = null } = host;
  const say = (text: string): void => console.error(`batchmill: ${text}`);
  const calls = new ScriptCalls({ script, context, customDir, learned: callSize, say });
  return {
    score: async (files, port, columns) => {
      try {
        return { ...(await score({ calls, host, encoder, columns }, files, port)), appended: takeAppended() };
      } finally {
        // What a failed mini-batch has opened is taken back, and says nothing about the next.
        takeAppended();
      }
    },
    close: async () => {
      await script.shutdown?.();
    },
  };
}

interface LoadedScript {
  readonly calls: ScriptCalls;
  readonly host: HostInit;
  readonly encoder: RowEncoder;
  readonly columns: readonly string[] | null;
}

async function score(
  { calls, host, encoder, columns }: LoadedScript,
  files: readonly HostFile[],
  port: ScorePort,
): Promise<Scored> {
  const names = files.map(({ name }) => name);
  const isAsked = asksForOrigin(host.settings.outputForm ?? defaultOutputForm);
  const originOf = (rows: number): RowOrigin | null => (isAsked ? originOfFiles(names, rows) : null);
  // Which file run() is at is known only when it is called with one.
  const returned = await calls.run(files, (index) => port.begin(index));
  const callSize = calls.takeLearned();
  const result = encodeResult(returned, encoder, { originOf, columns });
  await port.emit(result.pieces);
  const isPositional = result.rows === files.length;
  return {
    rows: result.rows,
    attribution: isPositional ? 'positional' : 'range',
    fileRows: isPositional ? files.map(() => 1) : null,
    failed: [],
    schema: result.schema,
    ...(callSize !== null && { callSize }),
  };
}
