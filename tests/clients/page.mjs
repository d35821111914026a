// A page with @sentry/browser: ?dsn=...&tunnel=... ; leaves in window.told what it sent.
import * as Sentry from "@sentry/browser";

const wanted = new URLSearchParams(location.search);
const sent = [];
const client = Sentry.init({
  dsn: wanted.get("dsn"),
  tunnel: wanted.get("tunnel") ?? undefined,
  release: "page@3.0.0",
  environment: "test",
  tracesSampleRate: 1.0,
  enableLogs: true,
  replaysSessionSampleRate: 1.0,
  sendDefaultPii: true,
  integrations: [
    Sentry.browserTracingIntegration({ idleTimeout: 100, ignoreResourceSpans: ["resource.script"] }),
    Sentry.replayIntegration({ minReplayDuration: 0 }),
  ],
});
const transport = client.getTransport();
const deliver = transport.send.bind(transport);
transport.send = (envelope) => {
  const [headers, items] = envelope;
  for (const [head] of items) sent.push([head.type, headers.event_id ?? ""]);
  return deliver(envelope);
};

function pay(item) {
  throw new TypeError(`cannot pay for ${item}`);
}
function count(...kinds) {
  return sent.filter(([kind]) => kinds.includes(kind)).length;
}
async function until(claim) {
  const deadline = Date.now() + 15000;
  while (!claim() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
}

Sentry.setUser({ id: "b-1" });
Sentry.setTag("tenant", "acme");
document.getElementById("buy").addEventListener("click", () => pay("cup"));
document.getElementById("buy").click(); // unhandled, in an event handler
Promise.reject(new RangeError("nobody waits for it")); // unhandled rejection
try {
  pay("tea");
} catch (error) {
  Sentry.captureException(error);
}
Sentry.captureMessage("héllo from the page 🦊", "warning");
Sentry.captureFeedback({ name: "Ada", email: "ada@example.com", message: "the button is small" });
Sentry.logger.warn("cart is full", { items: 3 });

await until(() => count("event") >= 4 && count("transaction", "span") >= 1);
await Sentry.getReplay()?.stop();
await Sentry.close(15000);
window.told = { sent };
