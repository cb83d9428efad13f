/** Loads a model with the first execution provider that can be had, and says which that is. */
import { basename } from 'node:path';
import type * as Onnxruntime from 'onnxruntime-node';
import { BatchError } from '../../common/core/batch-error.ts';
import type { HostInit } from '../../common/core/host-protocol.ts';
import type { ExecutionProvider } from '../../common/core/onnx-settings.ts';
import { reasonOf } from '../../common/io/errno.ts';

export interface OpenedSession {
  readonly ort: typeof Onnxruntime;
  readonly session: Onnxruntime.InferenceSession;
  readonly provider: ExecutionProvider;
}

/**
 * Tries the providers in their order; what one cannot run, onnxruntime leaves to the CPU. Throws MODEL_INVALID with the loader's words
 * when none is left.
 */
export async function openSession(
  path: string,
  providers: readonly ExecutionProvider[],
  level: HostInit['settings']['loggingLevel'],
  say: (text: string) => void,
): Promise<OpenedSession> {
  const ort = await import('onnxruntime-node');
  const failures: string[] = [];
  let cause: unknown;
  for (const provider of providers) {
    try {
      const session = await ort.InferenceSession.create(path, {
        executionProviders: [provider],
        // One host is one slot: the machine's cores are shared out by the worker node.
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        logSeverityLevel: level === 'debug' ? 1 : 3,
      });
      say(`execution provider: ${provider}`);
      return { ort, session, provider };
    } catch (error) {
      cause = error;
      const words = reasonOf(error).replaceAll(path, basename(path));
      failures.push(provider === 'cpu' ? words : `${provider}: ${words}`);
      const next = providers[failures.length];
      if (next !== undefined) console.error(`execution provider ${provider} cannot be had, ${next} is next: ${words}`);
    }
  }
  const isApart = failures.some((text) => /external data/i.test(text));
  const weights = isApart
    ? '. Weights of this model are in files beside it: give the folder that holds them and this one .onnx file as the model'
    : '';
  const hint = providers.includes('cpu')
    ? ''
    : '. With cpu at the end of settings.onnx.providers it falls back to that';
  const words = `the model ${basename(path)} cannot be loaded: ${failures.join('; ')}${weights}${hint}`;
  throw new BatchError('MODEL_INVALID', words, { cause });
}
