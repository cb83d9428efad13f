/** Loaded when the package is imported for its values, of which there are none. */
import { typesOnlyMessage } from './types-only.ts';

throw new Error(typesOnlyMessage);
