/** `hairtrigger serve`: the server alone. Its settings are variables, see docs/operating/configuration.md. */
import { serve } from "../../server/main.js";

export { serve };
