//! The fields of the containers that events came from lately, ready to be put into elements.

use std::sync::Arc;

use super::fields::ContainerField;
use crate::containers::Container;
use crate::data::{Accessor, Element, Values};

/// How many containers.
const KEPT: usize = 64;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct KnownContainers {
    values: Vec<(Arc<Container>, Values)>,
    /// The one of the last event: most have the container of the one before.
    last: usize,
    /// The one that is forgotten next.
    oldest: usize,
}

impl KnownContainers {
    /// What the fields of `container` that are in `targets`, always the same ones, hold.
    #[inline]
    pub(super) fn of(
        &mut self,
        container: &Arc<Container>,
        targets: &[(Accessor, ContainerField)],
        element: &mut Element,
    ) -> &Values {
        let is_last = |(last, _): &(Arc<Container>, Values)| Arc::ptr_eq(last, container);
        if !self.values.get(self.last).is_some_and(is_last) {
            self.last = self.find(container, targets, element);
        }
        &self.values[self.last].1
    }

    /// The last answer.
    pub(super) fn last(&self) -> Option<&Values> {
        self.values.get(self.last).map(|(_, values)| values)
    }

    fn find(
        &mut self,
        container: &Arc<Container>,
        targets: &[(Accessor, ContainerField)],
        element: &mut Element,
    ) -> usize {
        let found = self.values.iter().position(|(known, _)| Arc::ptr_eq(known, container));
        found.unwrap_or_else(|| {
            for (target, field) in targets {
                field.write(container, target, element);
            }
            let values = Values::take(targets.iter().map(|(target, _)| target), element);
            self.add((Arc::clone(container), values))
        })
    }

    /// Where it is now.
    fn add(&mut self, new: (Arc<Container>, Values)) -> usize {
        if self.values.len() < KEPT {
            self.values.push(new);
            return self.values.len() - 1;
        }
        let place = self.oldest;
        self.values[place] = new;
        self.oldest = (place + 1) % KEPT;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::add_container_fields;
    use super::*;
    use crate::data::{DataSource, SourceType};

    #[test]
    fn each_element_gets_the_fields_of_its_container() {
        let mut source = DataSource::new("s", SourceType::Single, None);
        let targets: Vec<(Accessor, ContainerField)> = add_container_fields(&mut source)
            .unwrap()
            .into_iter()
            .map(|(id, field)| (source.accessor(id), field))
            .collect();
        let name = source.field("runtime.containerName").unwrap().any();
        let pid = source.field("runtime.containerPid").unwrap().any();
        let containers: Vec<Arc<Container>> = (0..KEPT as u32 + 10)
            .map(|number| {
                let mut container = Container::default();
                container.runtime.container_name = format!("c{number}");
                container.runtime.container_pid = number;
                Arc::new(container)
            })
            .collect();
        let mut known = KnownContainers::default();
        // One after the other, in turns, and again after the first have been forgotten.
        let orders = [0..containers.len(), 0..3, 0..3, 0..containers.len()];
        for number in orders.into_iter().flatten() {
            for _ in 0..2 {
                let mut element = Element::new(source.layout());
                let values = known.of(&containers[number], &targets, &mut element);
                values.announce(&mut element);
                assert!(values.can_wait());
                values.put(&mut element);
                assert_eq!(name.text(&element), format!("c{number}").as_bytes());
                assert_eq!(pid.bits(&element), number as u64);
            }
        }
        assert_eq!(known.values.len(), KEPT);
    }
}
