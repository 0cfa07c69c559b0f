import LabControl
import Testing

/// What the containers are allowed, and what they say of their health.
@Suite(.serialized) struct ImageTests {
    @Test func everyRoleIsHealthy() throws {
        let lab = try Lab.whole()
        for service in lab.nodes.flatMap(\.services) + ["balancer"] {
            try eventually("\(service) is healthy", within: .seconds(60)) {
                try lab.engine.details(service).state.health?.status == "healthy"
            }
        }
    }

    @Test func noRoleHasRightsThatItDoesNotNeed() throws {
        let lab = try Lab.whole()
        for service in lab.nodes.flatMap(\.services) + ["balancer"] {
            let details = try lab.engine.details(service)
            let rights = details.hostConfig
            #expect(!["", "0", "root"].contains(details.config.user), "\(service) runs as root")
            #expect(!rights.privileged, "\(service) may do what the machine's root may")
            #expect(rights.readonlyRootfs, "\(service) may write to its image")
            #expect(rights.capDrop == ["ALL"], "\(service) keeps capabilities")
            #expect((rights.capAdd ?? []).isEmpty, "\(service) is given capabilities")
            #expect(rights.securityOpt == ["no-new-privileges:true"], "\(service) may gain privileges, or is less confined than others")
        }
    }

    /// The key file where it is read, each agent's client socket for its application, and nothing of the machine: the engine's socket least of all.
    @Test func noRoleMountsMoreThanItNeeds() throws {
        let lab = try Lab.whole()
        var needed: [String: Set<String>] = ["balancer": ["keys:/etc/sessionmesh:ro", "balancer:/run/sessionmesh"]]
        for node in lab.nodes {
            let (sockets, admin) = ("\(node.name):/run/sessionmesh", "\(node.name)-admin:/run/sessionmesh-admin")
            needed[node.agent] = ["keys:/etc/sessionmesh:ro", sockets, admin]
            needed[node.application] = [sockets + ":ro"]
        }
        for (service, needed) in needed {
            let mounted = try mounts(of: service, lab)
            #expect(mounted == needed, "\(service) mounts something else")
        }
    }

    /// As docker/compose.yaml writes them.
    private func mounts(of service: String, _ lab: Lab) throws -> Set<String> {
        let mounts = try lab.engine.details(service).mounts.map { mount in
            let source = mount.type == "volume" ? mount.name?.split(separator: "_").last.map(String.init) : nil
            return "\(source ?? mount.type):\(mount.destination)\(mount.isWritable ? "" : ":ro")"
        }
        return Set(mounts)
    }
}
