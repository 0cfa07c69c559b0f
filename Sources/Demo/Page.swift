/// The demo's only page. Everything that visitors wrote reaches it as JSON and is set as text, never as markup.
struct Page {
    let node: String
    /// Nil hides the button that kills.
    let csrf: String?
    let nonce: String

    static func escape(_ text: String) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            default: escaped.append(character)
            }
        }
        return escaped
    }

    var html: String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="csrf" content="\(Self.escape(csrf ?? ""))">
        <title>SessionMesh demo</title>
        <style nonce="\(nonce)">\(Self.style)</style>
        </head>
        <body>
        <header>
          <h1>SessionMesh</h1>
          <p>This page came from <b>\(Self.escape(node))</b>; the last answer from <b id="node">\(Self.escape(node))</b>. <span id="state" role="status"></span></p>
        </header>
        <main>
          <section>
            <h2>Nodes</h2>
            <ul id="nodes"></ul>
            <p id="whose" class="quiet">You have no session yet.</p>
            <button id="kill" class="danger"\(csrf == nil ? " hidden" : "")>Kill the node that serves me</button>
          </section>
          <section>
            <h2>Counter</h2>
            <p class="count" id="count">–</p>
            <button id="more">One more</button>
          </section>
          <section>
            <h2>Login</h2>
            <form id="login" method="post" action="/login">
              <label for="user">Your name</label>
              <input id="user" name="user" maxlength="64" required autocomplete="username">
              <button>Log in</button>
            </form>
            <form id="logout" method="post" action="/logout" hidden>
              <p>You are <b id="who"></b>.</p>
              <button>Log out</button>
            </form>
          </section>
          <section>
            <h2>Chat</h2>
            <ol id="log" aria-live="polite"></ol>
            <form id="say">
              <label for="text">Say something to every node</label>
              <input id="text" maxlength="1000" autocomplete="off" required>
              <button>Send</button>
            </form>
          </section>
        </main>
        <script nonce="\(nonce)">\(Self.script)</script>
        </body>
        </html>

        """
    }

    private static let style = """
        :root { color-scheme: light dark; --edge: #8884; --accent: #2563eb; --good: #16a34a; --warn: #d97706; --bad: #dc2626; }
        * { box-sizing: border-box; }
        body { margin: 0 auto; max-width: 64rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
        h1, h2 { margin: 0 0 .5rem; line-height: 1.2; } h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; }
        main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
        section { border: 1px solid var(--edge); border-radius: .75rem; padding: 1rem; }
        button, input { font: inherit; padding: .6rem .8rem; border-radius: .5rem; border: 1px solid var(--edge); }
        button { background: var(--accent); color: #fff; border: 0; cursor: pointer; } button.danger { background: var(--bad); }
        input, button { width: 100%; margin-top: .4rem; }
        ul, ol { list-style: none; margin: 0 0 .5rem; padding: 0; }
        #nodes li { display: flex; justify-content: space-between; gap: 1rem; padding: .25rem 0; border-bottom: 1px solid var(--edge); }
        #nodes .alive { color: var(--good); } #nodes .suspect { color: var(--warn); } #nodes .dead, #nodes .left { color: var(--bad); }
        .count { font-size: 3rem; margin: 0; font-variant-numeric: tabular-nums; } .quiet { opacity: .75; }
        #log { height: 12rem; overflow-y: auto; overflow-wrap: anywhere; } #log .notice { opacity: .7; font-style: italic; }
        #state { color: var(--warn); }
        """

    // A pause and another try for whatever fails: the point of the page is that a node may die under it.
    private static let script = """
        "use strict";
        const $ = (id) => document.getElementById(id);
        const csrf = document.querySelector("meta[name=csrf]").content;
        async function ask(path, options = {}) {
          const response = await fetch(path, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(5000), ...options });
          if (!response.ok) throw new Error("answer " + response.status);
          return response.headers.get("content-type")?.includes("json") ? response.json() : null;
        }
        function state(text) { $("state").textContent = text; }
        function showCounter(answer) {
          $("count").textContent = answer.count;
          $("node").textContent = answer.node;
          $("who").textContent = answer.user;
          $("login").hidden = answer.user !== "";
          $("logout").hidden = answer.user === "";
        }
        async function refresh() {
          try {
            const [me, counter, mesh] = await Promise.all([ask("/whoami"), ask("/counter"), ask("/nodes")]);
            showCounter(counter);
            $("whose").textContent = me.key === "" ? "You have no session yet."
              : `Your session ${me.key}… is on ${me.primary}, its second copy on ${me.backup || "no other node"}.`;
            $("nodes").replaceChildren(...mesh.nodes.map((node) => {
              const item = document.createElement("li"), name = document.createElement("b"), status = document.createElement("span");
              const marks = [node.name === mesh.answered && "answered", node.name === me.primary && "primary", node.name === me.backup && "backup"];
              name.textContent = node.name;
              status.textContent = [...marks.filter(Boolean), node.role === "node" ? node.status : `${node.role}, ${node.status}`].join(" · ");
              status.className = ["alive", "suspect", "dead", "left"].includes(node.status) ? node.status : "";
              item.append(name, status);
              return item;
            }));
            state("");
          } catch (error) {
            state(`No answer (${error.message}); trying again.`);
          }
          setTimeout(refresh, 1000);
        }
        $("more").addEventListener("click", async () => {
          try { showCounter(await ask("/counter", { method: "POST" })); } catch (error) { state(`Not counted: ${error.message}.`); }
        });
        $("kill").addEventListener("click", async () => {
          try {
            await ask("/kill", { method: "POST", headers: { "X-CSRF-Token": csrf } });
            state("This node is being killed. Your session goes on elsewhere.");
          } catch (error) { state(`Not killed: ${error.message}.`); }
        });
        for (const id of ["login", "logout"]) {
          $(id).addEventListener("submit", async (event) => {
            event.preventDefault();
            try {
              await ask("/" + id, { method: "POST", body: id === "login" ? new URLSearchParams({ user: $("user").value }) : null });
              location.reload();
            } catch (error) { state(`Not done: ${error.message}.`); }
          });
        }
        let socket, pause = 250;
        function line(text, kind) {
          const item = document.createElement("li");
          item.textContent = text;
          item.className = kind;
          $("log").append(item);
          while ($("log").children.length > 200) $("log").firstChild.remove();
          item.scrollIntoView({ block: "nearest" });
        }
        function connect() {
          socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/chat");
          socket.onopen = () => { pause = 250; };
          socket.onmessage = (event) => {
            const message = JSON.parse(event.data);
            if (message.notice) line(message.notice, "notice"); else line(`${message.from}: ${message.text}`, "");
          };
          socket.onclose = () => { setTimeout(connect, pause * (0.5 + Math.random())); pause = Math.min(pause * 2, 5000); };
        }
        $("say").addEventListener("submit", (event) => {
          event.preventDefault();
          if (socket.readyState !== WebSocket.OPEN) { line("Not connected yet; try again in a moment.", "notice"); return; }
          socket.send($("text").value);
          $("text").value = "";
        });
        refresh();
        connect();
        """
}
