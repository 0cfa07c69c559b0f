import Glibc
import LabTools

extension Run {
    /// `kill -9` of one: how long until each survivor calls it dead.
    func kill() throws {
        // With a hundred members on a few CPUs the figure is the machine's; it is shown with how busy that was.
        let hasGoal = size <= 50
        var dead = Sample()
        var first = Sample()
        var mistakes = 0
        defer {
            report("dead, each survivor", dead, p50: hasGoal ? 0.5 : nil, p99: hasGoal ? 1.5 : nil)
            report("dead, first survivor, p50", .seconds, first.percentile(50))
            report("deaths of living members", .count, goal: 0, Double(mistakes))
        }
        try withMesh { mesh in
            try repeated(size > 50 ? 3 : 7) { round in
                let victim = try mesh.victim(round, of: size)
                let survivors = mesh.survivors(of: [victim])
                mesh.mark()
                let start = Instant.now
                victim.mayEnd = true
                victim.signal(SIGKILL)
                _ = try mesh.poll(.seconds(40)) { !mesh.first(.dead, of: victim.name, by: survivors).contains(nil) }
                let seen = delays(mesh.first(.dead, of: victim.name, by: survivors), from: start)
                dead.add(seen)
                first.add(seen.min() ?? .infinity)
                mistakes += mesh.deaths(of: survivors)
                try mesh.run(for: .seconds(1))
                try mesh.start(Self.number(of: victim))
                try mesh.whole()
                try mesh.run(for: .seconds(2))
                return "dead at the last survivor after \(Measurement.Unit.seconds.text(seen.max() ?? .infinity))"
            }
        }
    }

    /// A process that stands still for good sends no reset and refuses nothing.
    func stop() throws {
        var dead = Sample()
        var suspect = Sample()
        var mistakes = 0
        var accused = 0
        defer {
            // serf logs a suspicion only at members that raise one themselves.
            report(system == .ours ? "suspect, each survivor" : "suspect, first survivor", suspect, p50: 0.7)
            report("dead, each survivor", dead, p50: 2.3, p99: 3.4)
            report("deaths of living members", .count, goal: 0, Double(mistakes))
            report("deaths the sleeper declared", .count, goal: 0, Double(accused))
        }
        try withMesh { mesh in
            try repeated(5) { round in
                let victim = try mesh.victim(round, of: size)
                let survivors = mesh.survivors(of: [victim])
                mesh.mark()
                let start = Instant.now
                victim.signal(SIGSTOP)
                _ = try mesh.poll(.seconds(40)) { !mesh.first(.dead, of: victim.name, by: survivors).contains(nil) }
                let seen = delays(mesh.first(.dead, of: victim.name, by: survivors), from: start)
                let suspected = delays(mesh.first(.suspect, of: victim.name, by: survivors), from: start)
                dead.add(seen)
                // Whoever heard of the death first was told no suspicion.
                if system == .ours {
                    suspect.add(zip(suspected, seen).map { min($0, $1) })
                } else {
                    suspect.add(suspected.min() ?? .infinity)
                }
                try mesh.run(for: .seconds(3))
                mistakes += mesh.deaths(of: survivors)
                mesh.mark()
                victim.signal(SIGCONT)
                try mesh.whole()
                try mesh.run(for: .seconds(3))
                accused += mesh.sightings.count { $0.observer == victim.index && $0.status == .dead && $0.subject != victim.name }
                return "dead at the last survivor after \(Measurement.Unit.seconds.text(seen.max() ?? .infinity))"
            }
        }
    }

    /// A pause that a busy machine or a garbage collector makes is no death.
    func pause() throws {
        var back = Sample()
        var deaths = 0
        var accused = 0
        var suspicions = 0
        defer {
            report("deaths", .count, goal: 0, Double(deaths))
            report("back after it, each survivor", back, p99: 0.5)
            report("members the sleeper suspected", .count, Double(suspicions))
            report("deaths the sleeper declared", .count, goal: 0, Double(accused))
        }
        try withMesh { mesh in
            try repeated(10) { round in
                let victim = try mesh.victim(round, of: size)
                let survivors = mesh.survivors(of: [victim])
                mesh.mark()
                victim.signal(SIGSTOP)
                try mesh.run(for: .milliseconds(1500))
                victim.signal(SIGCONT)
                let end = Instant.now
                let doubting = survivors.filter { $0.view[victim.name] != .alive }
                _ = try mesh.poll(.seconds(20)) { doubting.allSatisfy { $0.view[victim.name] == .alive } }
                let returned = delays(mesh.first(.alive, of: victim.name, by: doubting, since: end), from: end)
                back.add(returned + Array(repeating: 0, count: survivors.count - doubting.count))
                try mesh.run(for: .seconds(6))
                deaths += mesh.deaths(of: [victim]) + mesh.deaths(of: survivors)
                let own = mesh.sightings.filter { $0.observer == victim.index && $0.subject != victim.name }
                accused += own.count { $0.status == .dead }
                suspicions += own.count { $0.status == .suspect }
                try mesh.whole()
                return "\(doubting.count) survivors doubted, all back after \(Measurement.Unit.seconds.text(returned.max() ?? 0))"
            }
        }
    }

    /// Ten die at once: how often a balancer changes its routes, and when it is done.
    func burst() throws {
        let count = max(1, size / 5)
        var last = Sample()
        var done = Sample()
        var updates = Sample()
        defer {
            report("dead, each survivor", last)
            if system == .ours {
                report("routes whole at the balancer, slowest", .seconds, goal: 2, done.largest)
                report("routing updates, most in a round", .count, goal: 2, updates.largest)
            }
        }
        try withMesh(balancer: true) { mesh in
            let balancer = mesh["b250"]
            try repeated(3) { round in
                if balancer != nil {
                    try mesh.registerApplications()
                    try mesh.wait(.seconds(30), for: "routes to \(size) instances") { mesh.routeCount == size }
                    try mesh.run(for: .seconds(2))
                }
                let before = balancer.flatMap { mesh.metric("routing_updates_total", of: $0) }
                let victims = try (0..<count).map { try mesh.victim(round * count + $0, of: size) }
                let survivors = mesh.survivors(of: victims)
                mesh.mark()
                let start = Instant.now
                for victim in victims {
                    victim.mayEnd = true
                    victim.signal(SIGKILL)
                }
                _ = try mesh.poll(.seconds(40)) {
                    victims.allSatisfy { !mesh.first(.dead, of: $0.name, by: survivors).contains(nil) }
                        && (balancer == nil || mesh.routeCount == size - count)
                }
                for victim in victims { last.add(delays(mesh.first(.dead, of: victim.name, by: survivors), from: start)) }
                let routes = mesh.routes
                if let balancer {
                    done.add(routes.last { $0.targets == size - count }?.at.seconds(since: start) ?? .infinity)
                    let after = mesh.metric("routing_updates_total", of: balancer)
                    updates.add(Double(before.flatMap { before in after.map { $0 - before } } ?? routes.count))
                }
                for victim in victims { try mesh.start(Self.number(of: victim)) }
                try mesh.whole()
                try mesh.run(for: .seconds(2))
                return "routes \(routes.map { "\($0.targets) after \($0.at.seconds(since: start).fixed(2)) s" }.joined(separator: ", "))"
            }
        }
    }

    static func number(of node: Node) -> Int { Int(node.name.dropFirst()) ?? 1 }
}
