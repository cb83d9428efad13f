/** Answers that take long end when whoever asked for them may not have them any more. */
import { pipeline, Transform, type Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';

/** The same bytes, as long as the token that was shown holds. No word can stand behind half a file: the connection ends. */
export function whileAllowed({ stillMay }: Pick<FastifyRequest, 'stillMay'>, source: Readable): Readable {
  if (!stillMay) return source;
  const allowed = new Transform({
    transform: (piece: Buffer, _encoding, done) => {
      try {
        stillMay();
        done(null, piece);
      } catch (error) {
        done(error as Error);
      }
    },
  });
  // Errors of both are those of what is sent.
  return pipeline(source, allowed, () => undefined);
}
